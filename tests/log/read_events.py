#!/usr/bin/env python3
"""Reads event files with TensorBoard's own code and compares them, tag by tag, with the metrics.jsonl beside them.

    tests/log/read_events.py build/bin/write_events     # has that program fill an empty folder first
    tests/log/read_events.py runs/zero                  # a folder that is there
"""
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator

EVERYTHING = {"scalars": 0, "tensors": 0}  # no thinning out


def expected(folder):
    """{tag: [(step, float32 value), …]} of the lines; a null, which is a value that is not finite, is left out."""
    series, times = {}, {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        step = row.pop("step")
        times[step] = row.pop("wall_time", None)
        for tag, value in row.items():
            if isinstance(value, (int, float)):
                series.setdefault(tag, []).append((step, struct.unpack("<f", struct.pack("<f", value))[0]))
    return series, times


def check(folder):
    series, times = expected(folder)
    reader = event_accumulator.EventAccumulator(str(folder), EVERYTHING).Reload()
    found = {tag: reader.Scalars(tag) for tag in reader.Tags()["scalars"]}
    assert sorted(found) == sorted(series), f"tags: expected {sorted(series)}, got {sorted(found)}"
    for tag, points in series.items():
        got = [(event.step, event.value) for event in found[tag]]
        assert got == points, f"{tag}: expected {points[:3]} …, got {got[:3]} … ({len(points)} and {len(got)} points)"
        for event in found[tag]:
            assert times[event.step] in (None, event.wall_time), f"{tag}, step {event.step}: time {event.wall_time}"
    # What the scalars page is served from: it recognises only files of version 2.
    served = plugin_event_accumulator.EventAccumulator(str(folder), EVERYTHING).Reload()
    assert sorted(served.PluginTagToContent("scalars")) == sorted(series), "the scalars page would miss tags"
    assert served.file_version == 2, f"file version: expected 2, got {served.file_version}"
    print(f"TensorBoard reads the same {len(series)} tags and {sum(map(len, series.values()))} values from {folder}")


path = Path(sys.argv[1])
if path.is_dir():
    check(path)
else:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([path, folder], check=True)
        check(Path(folder))
