"""Writes weights.safetensors with the reference implementation of the layout.

    pip install safetensors==0.8.0 numpy && python weights.py

The values are a ramp, so that the test can state them in closed form.
"""

import pathlib

import numpy as np
from safetensors.numpy import save_file


def ramp(*shape):
    return (np.arange(np.prod(shape, dtype=int), dtype=np.float32) / 8 - 1).reshape(shape)


here = pathlib.Path(__file__).parent
save_file(
    {
        "stem.weight": ramp(2, 3, 3, 3),
        "stem.bias": ramp(2),
        "blocks.0.scale": ramp(1, 4, 1),
        "step": np.array(-1.0, dtype=np.float32),
    },
    here / "weights.safetensors",
)
