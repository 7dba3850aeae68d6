#!/usr/bin/env python3
"""Writes colour.csv, the reference for src/colour.rs, from Python's standard library alone.

Run in this folder: python3 colour.py > colour.csv
"""
import colorsys
import random


def clamp(v):
    return min(1.0, max(0.0, v))


def grey(p):
    return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]


def hue(turn, p):
    h, s, v = colorsys.rgb_to_hsv(*p)
    return colorsys.hsv_to_rgb((h + turn) % 1.0, s, v)


OPERATIONS = {
    "brightness": (0.0, 2.0, lambda f, p: [clamp(f * v) for v in p]),
    # Of one pixel, the mean grey of the image is its own grey.
    "contrast": (0.0, 2.0, lambda f, p: [clamp(f * v + (1 - f) * grey(p)) for v in p]),
    "saturation": (0.0, 2.0, lambda f, p: [clamp(f * v + (1 - f) * grey(p)) for v in p]),
    "hue": (-0.5, 0.5, hue),
}

CORNERS = [(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (0.5, 0.5, 0.5)]

draw = random.Random(1)
print("operation,strength,r,g,b,wanted_r,wanted_g,wanted_b")
for name, (low, high, change) in OPERATIONS.items():
    pixels = CORNERS + [tuple(draw.random() for _ in range(3)) for _ in range(40)]
    for pixel in pixels:
        strength = draw.uniform(low, high)
        numbers = [strength, *pixel, *change(strength, pixel)]
        print(name + "," + ",".join(f"{n:.9f}" for n in numbers))
