"""The event files of TensorBoard, read without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event


def event_values(folder: Path) -> dict[tuple[str, int], Any]:
    """The values in the event files of a folder, by tag and step."""
    found = {}
    for path in folder.glob("events*"):
        content = path.read_bytes()
        while content:  # length, its sum, the event, its sum
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                found[value.tag, event.step] = value
    return found
