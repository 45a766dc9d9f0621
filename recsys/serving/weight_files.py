"""Served weights on disk: ``weights.safetensors``, and ``weights.json``, which vouches for it.

Apart from what makes and uses them, so that who looks for files does not load TorchRec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import check_sha256, expecting, read_json, sha256_of

WEIGHTS = "weights.safetensors"
WEIGHTS_META = "weights.json"
_FORMAT = "soloist weights"
_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedWeights:
    """The served towers of one replica and the tables that they read, on the CPU."""

    schema: Schema
    tables: Mapping[str, Tensor]
    """``SET/TABLE`` to rows ``(rows, embedding_dim)``; the sets are numbered"""
    towers: Mapping[str, Tensor]
    """The towers' ``state_dict``; first dimension: the served towers"""


def write_weights(place: Path, weights: ServedWeights) -> None:
    """Write weights into a directory that nobody reads yet; ``weights.json`` last."""
    path = place / WEIGHTS
    tensors = {f"tables/{name}": tensor for name, tensor in weights.tables.items()}
    tensors |= {f"towers/{name}": tensor for name, tensor in weights.towers.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    meta = {
        "format": _FORMAT,
        "version": _VERSION,
        "sha256": sha256_of(path),
        "schema": weights.schema.to_json(),
    }
    (place / WEIGHTS_META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def has_weights(place: Path) -> bool:
    """Tell whether a directory has weights."""
    return (place / WEIGHTS_META).exists()


def read_weights(place: Path) -> ServedWeights:
    """Return the weights in a directory.

    Raises:
        DataError: there are none, or they are not what was written.
    """
    described, path = place / WEIGHTS_META, place / WEIGHTS
    meta = read_json(
        described,
        hint="; the weights of a trial are kept where --keep-weights asks for it: "
        "soloist sweep EXPERIMENT --keep-weights",
    )
    if (meta.get("format"), meta.get("version")) != (_FORMAT, _VERSION):
        raise DataError(f"{described}: not the description of weights in version {_VERSION}")
    with expecting("a whole description", described):
        schema, expected = Schema.from_json(meta["schema"]), meta["sha256"]
    check_sha256(path, expected)
    parts: dict[str, dict[str, Tensor]] = {"tables": {}, "towers": {}}
    with expecting("weights", path, SafetensorError, OSError):
        for name, tensor in load_file(path).items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
    return ServedWeights(schema=schema, **parts)
