"""Writes the goldens beside this file: small images and arrays as other libraries write them, and
the numbers that other libraries read from the shared recordings.

    pip install numpy pillow mcap mcap-ros2-support
    python make.py [SHARED_FOLDER]

Without the shared folder only the small files are written.
"""

import io
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent


def picture(height=14, width=20):
    """A smooth colour gradient with a sharp square in it."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 12, y * 17, 255 - x * 6 - y * 8], axis=-1)
    rgb[4:9, 6:12] = [250, 30, 90]
    return rgb.astype(np.uint8)


def png(path, width, height, depth, colour, rows, extra=b""):
    """A PNG by hand, for the kinds that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def write_images():
    rgb = picture()
    height, width, _ = rgb.shape
    colour = Image.fromarray(rgb)
    grey = colour.convert("L")
    colour.save(HERE / "rgb.png")
    colour.save(HERE / "rgb.jpg", quality=92, subsampling=0)
    colour.save(HERE / "subsampled.jpg", quality=92, subsampling=2)
    colour.save(HERE / "progressive.jpg", quality=92, subsampling=0, progressive=True)
    grey.save(HERE / "grey.png")
    grey.save(HERE / "grey.jpg", quality=92)
    palette = colour.quantize(16)
    palette.save(HERE / "palette.png")
    alpha = np.dstack([rgb, np.full((height, width), 7, np.uint8)])
    Image.fromarray(alpha, "RGBA").save(HERE / "rgba.png")
    values = np.asarray(grey)
    Image.fromarray(np.dstack([values, values // 2]), "LA").save(HERE / "grey_alpha.png")
    wide = rgb.astype(np.uint16) * 256 + 99
    png(HERE / "rgb16.png", width, height, 16, 2, [row.astype(">u2").tobytes() for row in wide])
    bits = (values > 128).astype(np.uint8)
    png(HERE / "bits.png", width, height, 1, 0, [np.packbits(row).tobytes() for row in bits])

    wanted = {
        "rgb.png": rgb,
        "grey.png": np.dstack([values] * 3),
        "grey_alpha.png": np.dstack([values] * 3),
        "rgba.png": rgb,
        "rgb16.png": rgb,
        "palette.png": np.asarray(palette.convert("RGB")),
        "bits.png": np.dstack([bits * 255] * 3),
    }
    for name in ["rgb.jpg", "subsampled.jpg", "progressive.jpg", "grey.jpg"]:
        wanted[name] = np.asarray(Image.open(HERE / name).convert("RGB"))
    for name, pixels in wanted.items():
        (HERE / f"{name}.rgb").write_bytes(np.ascontiguousarray(pixels, np.uint8).tobytes())


def write_arrays():
    x = np.arange(42, dtype=np.float64).reshape(7, 6) / 4 - 3
    np.savez(HERE / "offsets.npz", x=x.astype("<f4"), offsets=np.array([0, 3, 3, 7]), y=[2, 0, 1], subject=[7, 7, 9])
    np.savez_compressed(HERE / "big_endian.npz", x=np.asfortranarray(x.astype(">f8")))
    cube = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.savez_compressed(
        HERE / "cube.npz",
        x=np.asfortranarray(cube.astype(">i4")),
        y=np.array([1.0, 0.0]),
        group=np.array([4, 5], np.uint8),
        rate_hz=np.float32(25.0),
        names=np.array(["not", "read"]),
    )


def write_karma(shared):
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    times, samples, frames = [], [], []
    with open(shared / "data/streams/gopro_karma.mcap", "rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            times.append((message.log_time, channel.topic))
            if channel.topic == "/imu":
                a, g = decoded.linear_acceleration, decoded.angular_velocity
                samples.append((message.log_time, [a.x, a.y, a.z, g.x, g.y, g.z]))
            else:
                frames.append((message.log_time, bytes(decoded.data)))
    values = np.array([sample for _, sample in samples])

    def means(data):
        image = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float64)
        return image.shape, image.mean(axis=(0, 1))

    lines = [("imu_count", len(samples)), ("frame_count", len(frames))]
    for name, index in [("first", 0), ("last", -1)]:
        lines.append((f"imu_{name}_time", samples[index][0]))
        lines.append((f"imu_{name}", " ".join(repr(v) for v in samples[index][1])))
        shape, mean = means(frames[index][1])
        lines.append((f"frame_{name}_time", frames[index][0]))
        lines.append((f"frame_{name}_height_width", f"{shape[0]} {shape[1]}"))
        lines.append((f"frame_{name}_mean_rgb", " ".join(f"{v:.4f}" for v in mean)))
    lines.append(("imu_mean", " ".join(f"{v:.9g}" for v in values.mean(axis=0))))
    (HERE / "gopro_karma.txt").write_text("".join(f"{name} = {value}\n" for name, value in lines))


def write_watch(shared):
    data = np.load(shared / "data/imu/watch_exercises.npz")
    x, offsets = data["x"], data["offsets"]
    lines = [
        ("series", len(offsets) - 1),
        ("rows", " ".join(str(n) for n in np.diff(offsets))),
        ("labels", " ".join(str(n) for n in data["y"])),
        ("groups", " ".join(str(n) for n in data["subject"])),
        ("last_row", " ".join(repr(float(v)) for v in x[-1])),
        ("mean", " ".join(f"{v:.9g}" for v in x.astype(np.float64).mean(axis=0))),
    ]
    (HERE / "watch_exercises.txt").write_text("".join(f"{name} = {value}\n" for name, value in lines))


if __name__ == "__main__":
    write_images()
    write_arrays()
    if len(sys.argv) > 1:
        write_karma(pathlib.Path(sys.argv[1]))
        write_watch(pathlib.Path(sys.argv[1]))
