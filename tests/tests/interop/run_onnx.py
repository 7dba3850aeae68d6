"""Runs one ONNX graph in ONNX Runtime: run_onnx.py MODEL.onnx INPUTS.safetensors OUTPUTS.safetensors

Inputs are taken by name, outputs are written by name. Safetensors is read and written here, so that
nothing but numpy and onnxruntime is needed. Optimisation is left on: a user's session has it on.
"""

import json
import struct
import sys

import numpy as np
import onnxruntime as ort


def load(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", f"{name} is {entry['dtype']}"
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def save(tensors, path):
    header, blobs, at = {}, [], 0
    for name, value in tensors.items():
        blob = np.ascontiguousarray(value, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main(model, inputs, outputs):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = load(inputs)
    # tract drops an input that nothing reads, such as the weight decay of a graph without matrices.
    wanted = {i.name: given[i.name] for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    values = session.run(names, wanted)
    assert all(v.dtype == np.float32 for v in values), "an output is not float"
    save(dict(zip(names, values)), outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
