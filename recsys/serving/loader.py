"""Loads and calls an exported program. Needs only PyTorch.

Example::

    model = load("exported/single")
    probabilities = model(
        dense,                                     # (B, D) float32
        {"user": users, "item": items,             # (B,) int64 each
         "tags": (tags, starts)},                  # (n,) and (B,) int64
    )                                              # (B,) float32
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import check_sha256, expecting, read_json
from recsys.serving.archive import read_program

PROGRAM = "program.pt2"
DESCRIPTION = "program.json"
_FORMAT = "soloist program"
_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRead:
    """A table, and the features that read it."""

    features: tuple[str, ...]
    rows: int
    embedding_dim: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """The content of ``program.json``.

    ``schema`` has the inputs in order; an id is in [0, cardinality), 0 for a missing or unknown
    value.
    """

    schema: Schema
    tables: tuple[TableRead, ...]
    arm: dict[str, Any]
    model: dict[str, Any]
    trial: dict[str, Any]
    """Name, seeds, and the fingerprint of the click log"""
    libraries: dict[str, str]
    """With which the program was made"""
    sha256: str
    """Of ``program.pt2``"""

    @property
    def title(self) -> str:
        """A short title of the arm."""
        words = [str(self.arm.get("kind")), str(self.arm.get("activation"))]
        if self.arm.get("components") != 1:
            words.append(f"K={self.arm.get('components')}")
        return " ".join(words)

    def write(self, place: Path) -> None:
        """Write it into a directory."""
        told = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        told["schema"] = self.schema.to_json()
        (place / DESCRIPTION).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, place: Path) -> Description:
        """Return the description in a directory.

        Raises:
            DataError: it is missing or of another version.
        """
        path = place / DESCRIPTION
        told = read_json(path, hint="; soloist export writes it")
        if (told.pop("format", None), told.pop("version", None)) != (_FORMAT, _VERSION):
            raise DataError(
                f"{path}: not a program description of version {_VERSION}; export the trial again"
            )
        with expecting("a whole description", path):
            told["schema"] = Schema.from_json(told["schema"])
            told["tables"] = tuple(
                TableRead(**{**table, "features": tuple(table["features"])})
                for table in told["tables"]
            )
            told |= {name: dict(told[name]) for name in ("arm", "model", "trial", "libraries")}
            return cls(**told)


Bag = tuple[Tensor, Tensor]
"""Ids ``(n,)`` of B examples one after another, and where each example's begin, ``(B,)``: int64"""


class ServedModel:
    """A callable exported program, with ``description`` of its inputs."""

    def __init__(self, description: Description, program: Callable[..., Tensor]) -> None:
        self.description = description
        self._program = program
        schema = description.schema
        self._bounds = torch.tensor([each.cardinality for each in schema.single_valued])

    def __call__(self, dense: Tensor, sparse: Mapping[str, Tensor | Bag]) -> Tensor:
        """Return the probabilities of B examples, ``(B,)`` float32.

        Args:
            dense: float32 ``(B, D)``, in the order of the schema; ``(B, 0)`` without dense
                features.
            sparse: integers by feature. A single-valued feature has ids ``(B,)``. A multi-valued
                one has a pair: the concatenated ids ``(n,)``, and the start of each example's ids
                ``(B,)``, the first at 0.

        Raises:
            ValueError: a feature is missing, has a wrong shape, or an id outside its table.
        """
        schema = self.description.schema
        if dense.dim() != 2 or dense.shape[1] != len(schema.dense):
            raise ValueError(f"dense: found {_size(dense)}, expected (B, {len(schema.dense)})")
        missing = [each.name for each in schema.sparse if each.name not in sparse]
        if missing:
            raise ValueError(f"sparse: found no {missing[0]}, which the program needs")
        examples = len(dense)
        bags = tuple(
            _bag(each.name, sparse[each.name], examples, each.cardinality)
            for each in schema.multi_valued
        )
        with torch.inference_mode():
            return self._program(dense.float(), self._ids(sparse, examples), bags)

    def _ids(self, sparse: Mapping[str, Tensor | Bag], examples: int) -> Tensor:
        """Return the ids of all single-valued features, int64 ``(B, T)``."""
        columns = []
        for each in self.description.schema.single_valued:
            column = sparse[each.name]
            if not isinstance(column, Tensor) or column.shape != (examples,):
                raise ValueError(
                    f"{each.name}: found {_size(column)}, expected ids ({examples},) as in dense"
                )
            columns.append(column)
        if not columns:
            return torch.empty(examples, 0, dtype=torch.int64)
        ids = torch.stack(columns, 1).to(torch.int64)
        # A table's rows lie among others': an id beyond its own would read another feature's.
        beyond = (ids < 0) | (ids >= self._bounds)
        if beyond.any():
            row, at = beyond.nonzero()[0].tolist()
            each = self.description.schema.single_valued[at]
            raise ValueError(_beyond(each.name, int(ids[row, at]), each.cardinality))
        return ids


def load(path: Path | str) -> ServedModel:
    """Return the program that ``soloist export`` wrote to a directory.

    Raises:
        DataError: it is missing or damaged, has more than PyTorch operations and raw tensors, or
            this PyTorch cannot read it.
    """
    place = Path(path)
    description = Description.read(place)
    file = place / PROGRAM
    check_sha256(file, description.sha256)
    program = read_program(file, made_with=description.libraries.get("torch"))
    # What its guards would look at is looked at here, in words that a person understands.
    return ServedModel(description, program.module(check_guards=False))


def _bag(name: str, found: Tensor | Bag, examples: int, cardinality: int) -> Bag:
    """Return a multi-valued feature's ids and starts as int64, validated."""
    if isinstance(found, Tensor) or len(found) != 2:
        raise ValueError(f"{name}: found {_size(found)}, expected a pair: ids, starts")
    ids, starts = (each.to(torch.int64) for each in found)
    if ids.dim() != 1 or starts.shape != (examples,):
        raise ValueError(
            f"{name}: found ids {_size(ids)} and starts {_size(starts)}, "
            f"expected (n,) and ({examples},) as in dense"
        )
    ends = torch.cat((starts, starts.new_tensor([len(ids)])))
    if ends[0] != 0 or (ends.diff() < 0).any():
        raise ValueError(f"{name}: expected non-decreasing starts from 0 up to {len(ids)} ids")
    beyond = (ids < 0) | (ids >= cardinality)
    if beyond.any():
        raise ValueError(_beyond(name, int(ids[beyond][0]), cardinality))
    return ids, starts


def _beyond(name: str, found: int, cardinality: int) -> str:
    return f"{name}: found id {found}, expected 0 to {cardinality - 1}"


def _size(found: object) -> str:
    return str(tuple(found.shape)) if isinstance(found, Tensor) else f"a {type(found).__name__}"
