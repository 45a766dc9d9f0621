"""The base class of configuration values, and their number types.

Numbers are strict: neither text nor booleans (YAML's ``yes``, ``no``, ``on``, ``off``) are
converted.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Count = Annotated[Integer, Field(gt=0, le=1_000_000_000)]
"""Of examples, batches or windows"""
Few = Annotated[Integer, Field(gt=0, le=10_000)]
"""Of processes, trainings or layers"""
Widths = Annotated[tuple[Annotated[Integer, Field(gt=0, le=65_536)], ...], Field(max_length=100)]
"""Of the layers of a tower"""
Seconds = Annotated[Number, Field(gt=0, le=31_536_000)]
"""At most a year"""
Share = Annotated[Number, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """A frozen value; unknown fields, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
