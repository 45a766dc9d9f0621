"""Validated JSON of typed values, in snapshots and checkpoints.

Types are dataclasses of numbers, strings, tuples, counters and arrays. Unlike a pickle, a file can
only create values of the requested type.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator, TypeAdapter

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Return a dataclass as a value for ``json.dumps``."""
    return TypeAdapter(type(value)).dump_python(value)


def from_json(kind: type[T], value: Any) -> T:
    """Return the dataclass of ``to_json``; ValueError if it has another type."""
    return TypeAdapter(kind).validate_python(value)


def array_of(value: Any) -> npt.NDArray[Any]:
    """Return the array of ``array_json``; arrays are unchanged."""
    if isinstance(value, np.ndarray):
        return value
    dtype = np.dtype(value["dtype"])
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype}, expected numbers")
    flat = np.frombuffer(bytearray(base64.b64decode(value["base64"], validate=True)), dtype)
    return flat.reshape(value["shape"])


def array_json(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Return an array of numbers as a JSON value."""
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "base64": content}


Array = Annotated[npt.NDArray[Any], PlainValidator(array_of), PlainSerializer(array_json)]
