"""Writes the served part of an arm as a ``torch.export`` program that needs only PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from recsys.credentials import redacted
from recsys.errors import ConfigError, DataError
from recsys.files import replaceable, sha256_of
from recsys.module import Arm
from recsys.serving.archive import write_program
from recsys.serving.loader import DESCRIPTION, PROGRAM, Bag, Description, TableRead
from recsys.serving.program import Program

_EXAMPLES = 4
"""Of the batch that the program is traced with; it takes batches of any size"""
_TRIED = (1, 7)
"""Sizes of batches at which the program is compared with what it was made of"""


def check_place(place: Path) -> None:
    """Raise if a directory is not an export, or cannot be replaced.

    Raises:
        DataError: so it is; nothing is changed.
    """
    place = replaceable(place)
    if not place.exists() or (place / DESCRIPTION).exists():
        return
    if not place.is_dir() or any(place.iterdir()):
        raise DataError(f"{place}: exists and is not an exported program; it is unchanged")


def export(
    arm: Arm,
    place: Path,
    *,
    trial: dict[str, Any],
    libraries: dict[str, str],
    check: Callable[[Path], None] = lambda _: None,
) -> Description:
    """Write one replica's served part to a directory atomically, replacing an earlier export.

    ``trial`` and ``libraries`` are recorded. ``check`` gets the finished directory before the
    rename, and may raise.

    Raises:
        DataError: the directory is not an export.
        ConfigError: the model cannot be exported.
    """
    check_place(place)
    place = replaceable(place)
    program = exported(arm)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as scratch:
        made, replaced = Path(scratch, "new"), Path(scratch, "old")
        made.mkdir()
        write_program(program, made / PROGRAM, model=arm.model.name)
        description = _description(arm, sha256_of(made / PROGRAM), trial, libraries)
        description.write(made)
        check(made)
        if place.exists():
            place.rename(replaced)
        try:
            made.rename(place)
        except OSError:
            if replaced.exists():
                replaced.rename(place)
            raise
    return description


def exported(arm: Arm) -> ExportedProgram:
    """Return one replica's served part as a program for any batch size.

    Raises:
        ConfigError: the custom model cannot be exported, or not for every batch size.
    """
    program = Program(arm)
    size = Dim("examples")
    bags = [({0: Dim(f"ids{at}")}, {0: size}) for at, _ in enumerate(arm.schema.multi_valued)]
    try:
        with torch.no_grad(), _quiet():
            traced = torch.export.export(
                program,
                _example(arm, _EXAMPLES),
                dynamic_shapes=({0: size}, {0: size}, tuple(bags)),
                strict=False,
            )
        _compare(arm, program, traced)
    except Exception as error:
        # Whatever it is that torch.export objects to in a user's code.
        lines = str(error).strip().splitlines() or ["no message"]
        raise ConfigError(
            f"model {arm.model.name}: cannot be exported: {type(error).__name__}: {lines[0]}"
        ) from error
    return traced


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress PyTorch's output about graphs that cannot be exported."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _compare(arm: Arm, program: Program, traced: ExportedProgram) -> None:
    """Raise ValueError if the trace is valid for the traced batch only."""
    again = traced.module(check_guards=False)
    for examples in _TRIED:
        example = _example(arm, examples)
        with torch.no_grad():
            torch.testing.assert_close(again(*example), program(*example), equal_nan=True)


def _example(arm: Arm, examples: int) -> tuple[torch.Tensor, torch.Tensor, tuple[Bag, ...]]:
    """Return random inputs of ``Program``; bag feature i has i + 2 ids per example.

    All tensors are distinct, because a trace would merge equal inputs.
    """
    schema = arm.schema
    generator = torch.Generator().manual_seed(examples)
    dense = torch.rand(examples, len(schema.dense), generator=generator)

    def ids(cardinality: int, count: int) -> torch.Tensor:
        return torch.randint(cardinality, (count,), generator=generator)

    singles = [ids(each.cardinality, examples) for each in schema.single_valued]
    return (
        dense,
        torch.stack(singles, 1) if singles else torch.empty(examples, 0, dtype=torch.int64),
        tuple(
            (ids(each.cardinality, length * examples), length * torch.arange(examples))
            for length, each in enumerate(schema.multi_valued, start=2)
        ),
    )


def _description(
    arm: Arm, sha256: str, trial: dict[str, Any], libraries: dict[str, str]
) -> Description:
    (group,) = arm.groups
    return Description(
        schema=arm.schema,
        tables=tuple(
            TableRead(
                features=tuple(table.feature_names),
                rows=table.num_embeddings,
                embedding_dim=table.embedding_dim,
            )
            for _ in range(group.table_sets)
            for table in arm.blueprints[group.name].tables
        ),
        arm=arm.config.model_dump(mode="json"),
        model=redacted(arm.model.model_dump(mode="json")),
        trial=trial,
        libraries=libraries,
        sha256=sha256,
    )
