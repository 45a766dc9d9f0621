"""Schemas of all files that a sweep writes.

A fault is one line: ``FILE: FIELD: found X, expected Y``.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from analysis.errors import ResultsError
from analysis.results.study_design import StudyDesign
from analysis.text import check_experiment_name, check_read_arm_name, printable, shortened
from recsys.names import is_inner

Value = TypeVar("Value")

#: More than any model or data set has of anything; sums of it are finite.
MOST = 1e18
_FLOAT32_MAX = 3.5e38
_MOST_BYTES = 1 << 28


def _check_place(value: object) -> object:
    """Reject a trial outside the directory or its parent (a search shares the parent's trials)."""
    if not isinstance(value, str) or not is_inner(value.removeprefix("../")):
        raise ValueError(f"found {_shown(value)}, expected what a sweep writes: a folder below it")
    return value


def _check_distinct(values: tuple[Value, ...]) -> tuple[Value, ...]:
    repeated = next((value for at, value in enumerate(values) if value in values[:at]), None)
    if repeated is not None:
        raise ValueError(f"found {_shown(repeated)} twice, expected each once")
    return values


def _check_label(text: str) -> str:
    if not text.isprintable() or len(text) > 1000:
        raise ValueError(f"found {_shown(text)}, expected a line of at most 1000 characters")
    return text


Label = Annotated[str, AfterValidator(_check_label)]
Places = Annotated[
    tuple[Annotated[str, BeforeValidator(_check_place)], ...], AfterValidator(_check_distinct)
]
Positive = Annotated[float, Field(gt=0, le=MOST)]
Number = Annotated[float, Field(ge=0, le=MOST)]
Count = Annotated[int, Field(ge=0, le=2**53)]
OrNaN = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number that JSON has as null where it is not known"""
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]


class Strict(BaseModel):
    """A JSON object of a result file; unknown fields, of later versions, are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)


class ManifestArm(Strict):
    """An arm in ``sweep.json``."""

    name: Annotated[str, AfterValidator(check_read_arm_name)]
    kind: Label
    model: Label
    activation: Label
    beta: float | None
    components: Annotated[int, Field(ge=1, le=2**20)]
    conditions: dict[str, Any] = {}
    trials: Places


class ManifestSource(Strict):
    """Replicas of the baseline in ``sweep.json`` that vary a single source."""

    source: Label
    trials: Places


def _check_names(arms: tuple[ManifestArm, ...]) -> tuple[ManifestArm, ...]:
    _check_distinct(tuple(arm.name for arm in arms))
    return arms


class Manifest(Strict):
    """``sweep.json``."""

    experiment: Annotated[str, AfterValidator(check_experiment_name)]
    baseline: str
    varied: tuple[Label, ...]
    arms: Annotated[tuple[ManifestArm, ...], AfterValidator(_check_names)]
    sources: tuple[ManifestSource, ...]
    study: StudyDesign | None = None


class CostFile(Strict):
    """``cost.json``: the numbers that every engine writes, and engine-specific ones."""

    __pydantic_extra__: dict[str, Number]
    train_lookups: Positive
    serve_lookups: Positive
    serve_lookup_bytes: Positive
    parameters: Number
    train_examples_per_second: Positive
    serve_us_per_example: Positive


def _check_workers(value: object) -> object:
    """Reject what is neither a number of workers nor a [least, most] range."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, int) or not 1 <= each <= 2**20:
            raise ValueError(f"found {_shown(value)}, expected a number of workers, or a range")
    return value


Workers = Annotated[Any, AfterValidator(_check_workers)]


class Engine(Strict):
    """The engine in ``config.json``."""

    name: Label = ""
    workers: Workers = 1
    store: Label | None = None
    delta_scale: float | None = None


class Recipe(Strict):
    """The recipe in ``config.json``."""

    engine: Engine


class Config(Strict):
    """``config.json``."""

    recipe: Recipe
    seeds: dict[str, Seed] = {}
    data_fingerprint: Label = "unknown"


class Machine(Strict):
    """The machine in ``provenance.json``."""

    device: Annotated[Label, Field(min_length=1)]


class Provenance(Strict):
    """``provenance.json``."""

    machine: Machine
    threads: Annotated[int, Field(ge=1, le=2**20)] | None = None
    fused_replicas: Annotated[int, Field(ge=1, le=2**20)] | None = None
    seeds: dict[str, Seed] = {}


class Histogram(Strict):
    """Counts by staleness."""

    histogram: dict[Count, Annotated[Count, Field(ge=1)]]


class Staleness(Strict):
    """``staleness.json``."""

    updates: Histogram


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a Parquet file: type, range, and whether it may be missing or NaN."""

    type: pa.DataType
    low: float = -math.inf
    high: float = math.inf
    may_be_nan: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A Parquet file: its columns, and those that are unique together."""

    columns: dict[str, Column]
    key: tuple[str, ...]


_INTEGER = Column(type=pa.int64())
_COUNT = Column(type=pa.int64(), low=0, high=2**53)
_LOSS = Column(type=pa.float64(), low=0, high=_FLOAT32_MAX, may_be_nan=True)
_TABLES = {
    # A replica that diverged predicts NaN or infinity, which the report says.
    "predictions.parquet": Table(
        columns={
            "example": _INTEGER,
            "group": _INTEGER,
            "label": Column(type=pa.float64(), low=0, high=1),
            "logit": Column(type=pa.float64(), may_be_nan=True),
        },
        key=("example",),
    ),
    "progress_predictions.parquet": Table(
        columns={
            "examples": _COUNT,
            "example": _INTEGER,
            "logit": Column(type=pa.float64(), low=-_FLOAT32_MAX, high=_FLOAT32_MAX),
        },
        key=("examples", "example"),
    ),
    "progress.parquet": Table(
        columns={
            "examples": _COUNT,
            "progressive_log_loss": _LOSS,
            "eval_log_loss": _LOSS,
        },
        key=("examples",),
    ),
    "slices.parquet": Table(
        columns={"example": _INTEGER, "group_examples": _COUNT, "item_examples": _COUNT},
        key=("example",),
    ),
}


def read_json(path: Path, kind: type[Value]) -> Value:
    """Return a JSON file as a value of a pydantic type.

    Raises:
        FileNotFoundError: it is missing.
        ResultsError: it is invalid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ResultsError(f"{path}: found more than {_MOST_BYTES:,} bytes, expected fewer")
        return TypeAdapter(kind).validate_json(content)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}, expected a JSON object") from None
    except ValidationError as error:
        raise ResultsError(f"{path}: {_described(error.errors(include_url=False)[0])}") from None


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of a Parquet file, validated against the schema of its name.

    Raises:
        FileNotFoundError: it is missing.
        ResultsError: it is invalid.
    """
    expected = _TABLES[path.name]
    try:
        # To pyarrow, a relative path with a colon is a URI.
        with pq.ParquetFile(path.absolute()) as file:
            for name in columns:
                _check_type(path, name, file.schema_arrow, expected.columns[name])
            found = file.read(list(columns))
        values = {name: _values(found[name], expected.columns[name]) for name in columns}
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    for name, each in values.items():
        _check_range(path, name, each, expected.columns[name])
    table = pd.DataFrame(values)
    if set(expected.key) <= set(columns):
        _check_key(path, list(expected.key), table)
    return table


def column_titles(path: Path) -> dict[str, str]:
    """Return the column titles in the metadata of a Parquet file.

    Raises:
        ResultsError: it is invalid.
    """
    try:
        schema = pq.read_schema(path.absolute())
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    metadata = schema.metadata or {}
    return {
        name: printable(metadata[name.encode()].decode(errors="replace"))
        for name in schema.names
        if name.encode() in metadata
    }


def _unreadable(path: Path, error: Exception) -> ResultsError:
    first = shortened(printable((str(error).splitlines() or [type(error).__name__])[0]), 200)
    return ResultsError(f"{path}: {first}; expected Parquet")


def _check_type(path: Path, name: str, schema: pa.Schema, expected: Column) -> None:
    places = schema.get_all_field_indices(name)
    if len(places) != 1:
        raise ResultsError(f"{path}: {name}: found {len(places)} such columns, expected one")
    found = schema.field(places[0]).type
    is_float = pa.types.is_float32(found) or pa.types.is_float64(found)
    if not pa.types.is_integer(found) and not (is_float and expected.type == pa.float64()):
        kind = "numbers" if expected.type == pa.float64() else "integers"
        raise ResultsError(f"{path}: {name}: found {shortened(str(found), 60)}, expected {kind}")


def _values(column: pa.ChunkedArray, expected: Column) -> NDArray[Any]:
    """Return values in the expected type; missing values are NaN, also for integers."""
    values = column.cast(expected.type)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _check_range(path: Path, name: str, values: NDArray[Any], expected: Column) -> None:
    is_wrong = ~((values >= expected.low) & (values <= expected.high))
    if expected.may_be_nan:
        is_wrong &= ~np.isnan(values)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        found = "none" if np.isnan(values[row]) else f"{values[row]:g}"
        bounds = "" if math.isinf(expected.low) else f" from {expected.low:g} to {expected.high:g}"
        raise ResultsError(
            f"{path}: {name}: found {found} in row {row + 1}, expected a number{bounds}"
        )


def _check_key(path: Path, key: list[str], table: pd.DataFrame) -> None:
    if len(key) == 1 and (np.diff(table[key[0]]) > 0).all():
        return  # in order, as engines write it: nothing needs to be sorted
    is_repeated = table.duplicated(key)
    if is_repeated.any():
        first = table.loc[is_repeated.idxmax(), key]
        found = ", ".join(str(value) for value in first)
        raise ResultsError(f"{path}: {', '.join(key)}: found {found} twice, expected it once")


def _described(error: ErrorDetails) -> str:
    """Return a pydantic error as field, found and expected."""
    kind = error["type"]
    field = "".join(f"{step}: " for step in [".".join(map(str, error["loc"]))] if step)
    field = shortened(printable(field), 200)
    if kind == "value_error":
        return f"{field}{error['ctx']['error']}"
    if kind == "missing":
        return f"{field}found nothing, expected a value"
    if kind == "json_invalid":
        return f"{printable(error['msg'])}, expected a JSON object"
    expected = error["msg"].removeprefix("Input should be ").replace("an object", "a JSON object")
    return f"{field}found {_shown(error['input'])}, expected {expected}"


def _shown(value: object) -> str:
    return shortened(printable(reprlib.repr(value)), 60)
