"""Served weights on disk: ``weights.pt``, and ``weights.json``, which vouches for it.

Apart from what makes and uses them, so that who looks for files does not load TorchRec.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.serving.description import sha256_of

WEIGHTS = "weights.pt"
WEIGHTS_META = "weights.json"
_FORMAT = "soloist weights"
_VERSION = 1


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
    torch.save({"tables": dict(weights.tables), "towers": dict(weights.towers)}, path)
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
    meta = _read_meta(place / WEIGHTS_META)
    path = place / WEIGHTS
    try:
        whole = sha256_of(path) == meta["sha256"]
        schema = Schema.from_json(meta["schema"])
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError) as error:
        raise DataError(f"{place / WEIGHTS_META}: not a whole description ({error!r})") from None
    if not whole:
        raise DataError(f"{path}: its content is not what was written (checksum)")
    tensors: dict[str, Any] = torch.load(path, weights_only=True)
    return ServedWeights(schema=schema, **tensors)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(
            f"{path}: not there; the weights of a trial are kept where --keep-weights asks for it: "
            "soloist sweep EXPERIMENT --keep-weights"
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(meta, dict) or (meta.get("format"), meta.get("version")) != (
        _FORMAT,
        _VERSION,
    ):
        raise DataError(f"{path}: not the description of weights in version {_VERSION}")
    return meta
