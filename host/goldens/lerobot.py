"""Writes goldens/lerobot, a LeRobot v3 data set as LeRobot itself lays it out, with PyArrow and pandas.

Five episodes in two files; a camera as PNG in a column, one as video (whose files a test encodes itself),
a state, an IMU and two tasks. Frame f of episode e shows the colour (40 e, 10 f, 7); its state is
[e, f, e + f / 100]; its IMU is six times 100 e + f.

    python lerobot.py        (pyarrow, pandas, pillow)
"""

import io
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).parent / "lerobot"
FPS = 10
LENGTHS = [6, 9, 4, 12, 7]
FILES = [0, 0, 0, 1, 1]
TASKS = ["pick up the cube", "open the drawer"]


def png(episode, frame):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (40 * episode, 10 * frame, 7)).save(buffer, format="PNG")
    return buffer.getvalue()


def main():
    index = 0
    rows = {0: [], 1: []}
    episodes = []
    seconds = {0: 0.0, 1: 0.0}
    for episode, (length, file) in enumerate(zip(LENGTHS, FILES)):
        first = index
        for frame in range(length):
            rows[file].append(
                {
                    "observation.images.top": {"bytes": png(episode, frame), "path": None},
                    "observation.state": [episode, frame, episode + frame / 100],
                    "observation.imu": [100.0 * episode + frame] * 6,
                    "action": [0.5 * frame],
                    "timestamp": frame / FPS,
                    "frame_index": frame,
                    "episode_index": episode,
                    "index": index,
                    "task_index": episode % 2,
                }
            )
            index += 1
        camera = "videos/observation.images.front"
        episodes.append(
            {
                "episode_index": episode,
                "tasks": [TASKS[episode % 2]],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": file,
                "dataset_from_index": first,
                "dataset_to_index": index,
                f"{camera}/chunk_index": 0,
                f"{camera}/file_index": file,
                f"{camera}/from_timestamp": seconds[file],
                f"{camera}/to_timestamp": seconds[file] + length / FPS,
                "stats/observation.images.top/mean": [[[0.1]], [[0.2]], [[0.3]]],
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        seconds[file] += length / FPS
    schema = pa.schema(
        [
            ("observation.images.top", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("observation.state", pa.list_(pa.float32(), 3)),
            ("observation.imu", pa.list_(pa.float32())),
            ("action", pa.list_(pa.float32(), 1)),
            ("timestamp", pa.float32()),
            ("frame_index", pa.int64()),
            ("episode_index", pa.int64()),
            ("index", pa.int64()),
            ("task_index", pa.int64()),
        ]
    )
    for file, own in rows.items():
        path = ROOT / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Row groups that end within episodes.
        pq.write_table(pa.Table.from_pylist(own, schema=schema), path, row_group_size=8, compression="snappy")
    path = ROOT / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(episodes), path)
    pd.DataFrame({"task_index": [0, 1]}, index=TASKS).to_parquet(ROOT / "meta/tasks.parquet")
    number = {"dtype": "int64", "shape": [1], "names": None}
    image = {"shape": [16, 16, 3], "names": ["height", "width", "channels"]}
    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(LENGTHS),
        "total_frames": index,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FPS,
        "splits": {"train": "0:4", "test": "4:5"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            "observation.images.top": {"dtype": "image", **image},
            "observation.images.front": {"dtype": "video", **image},
            "observation.state": {"dtype": "float32", "shape": [3], "names": ["a", "b", "c"]},
            "observation.imu": {"dtype": "float32", "shape": [6], "names": None},
            "action": {"dtype": "float32", "shape": [1], "names": None},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            "frame_index": number,
            "episode_index": number,
            "index": number,
            "task_index": number,
        },
    }
    (ROOT / "meta/info.json").write_text(json.dumps(info, indent=4) + "\n")


if __name__ == "__main__":
    main()
