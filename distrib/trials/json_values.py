"""Typed values as JSON and back, checked: what snapshots and checkpoints hold beside tensors.

The types are dataclasses of numbers, words, tuples, counters and arrays. Unlike a pickle, such a
file can only make values of the type that is asked for.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import PlainSerializer, PlainValidator, TypeAdapter

T = TypeVar("T")


def to_json(value: object) -> Any:
    """Return a dataclass as a value that ``json.dumps`` takes."""
    return TypeAdapter(type(value)).dump_python(value)


def from_json(kind: type[T], value: Any) -> T:
    """Return the dataclass that ``to_json`` described; ValueError if it describes another."""
    return TypeAdapter(kind).validate_python(value)


def array_of(value: Any) -> npt.NDArray[Any]:
    """Return the array that ``array_json`` described, or an array as it is."""
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
