"""Writes the networks of nets.py as ONNX files: the encoder as Sedge reads it, the encoder for
inference, and encoder, head and loss as ONNX Runtime Training wants them.

    python export.py FOLDER NET...
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from nets import Step

warnings.filterwarnings("ignore")
OPSET = 17


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for net in sys.argv[2:]:
        step = Step(net)
        views = step.views()
        np.save(folder / f"{net}.views.npy", views.numpy())
        parts = {part: step.select(part) for part in ("head", "last:2", "all")}
        (folder / f"{net}.parts.json").write_text(json.dumps(parts))
        keep = dict(
            dynamo=False,
            opset_version=OPSET,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.TRAINING,
        )
        encoder = step.encoder.train()
        torch.onnx.export(encoder, (views,), folder / f"{net}.onnx", **keep, input_names=["x"], output_names=["y"])
        torch.onnx.export(
            step.train(),
            (views,),
            folder / f"{net}.loss.onnx",
            **{**keep, "opset_version": 15},
            input_names=["x"],
            output_names=["loss"],
        )
        for count in (1, 32):
            torch.onnx.export(
                encoder.eval(),
                (views[:count],),
                folder / f"{net}.batch{count}.onnx",
                dynamo=False,
                opset_version=OPSET,
                input_names=["x"],
                output_names=["y"],
            )


if __name__ == "__main__":
    main()
