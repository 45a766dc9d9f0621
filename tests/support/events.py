"""Reads TensorBoard's event files: records of a length, a checksum, an event, and a checksum."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def scalars(file: Path) -> list[tuple[str, int, float]]:
    """Return tag, step and value of every scalar in an event file."""
    content, found, place = file.read_bytes(), [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        place += length + 16
    return found
