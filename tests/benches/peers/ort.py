"""Times a training step in ONNX Runtime Training, or inference in ONNX Runtime; one line of JSON.

    python ort.py NET PART THREADS SECONDS FOLDER

FOLDER holds what export.py wrote. Training wants the package `onnxruntime-training`, inference any
ONNX Runtime.
"""

import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from timing import timed


def options(threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def inference(folder, net, count, threads):
    file = folder / f"{net}.batch{count}.onnx"
    session = onnxruntime.InferenceSession(file, options(threads), providers=["CPUExecutionProvider"])
    name, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return lambda: session.run(None, {name: x})


def training(folder, net, part, threads):
    import onnx
    import onnxruntime.training.api as api
    from onnxruntime.training import artifacts

    model = onnx.load(folder / f"{net}.loss.onnx")
    trained = set(json.loads((folder / f"{net}.parts.json").read_text())[part])
    weights = [t.name for t in model.graph.initializer if t.name.startswith(("encoder.", "head."))]
    made = tempfile.mkdtemp()
    artifacts.generate_artifacts(
        model,
        requires_grad=[name for name in weights if name in trained],
        frozen_params=[name for name in weights if name not in trained],
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=made,
    )
    state = api.CheckpointState.load_checkpoint(f"{made}/checkpoint")
    module = api.Module(f"{made}/training_model.onnx", state, session_options=options(threads))
    optimizer = api.Optimizer(f"{made}/optimizer_model.onnx", module)
    module.train()
    views = np.load(folder / f"{net}.views.npy")

    def work():
        module(views)
        optimizer.step()
        module.lazy_reset_grad()

    return work


def main():
    net, part, threads, seconds, folder = sys.argv[1:6]
    folder, threads = Path(folder), int(threads)
    if part.startswith("infer:"):
        work = inference(folder, net, int(part.split(":")[1]), threads)
    else:
        work = training(folder, net, part, threads)
    times = timed(work, float(seconds), threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"best": times[0], "median": times[len(times) // 2], "peak_mb": peak}))


if __name__ == "__main__":
    main()
