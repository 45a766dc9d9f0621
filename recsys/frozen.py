"""The base of every configuration value, and the types of its numbers.

The numbers are strict: text is not converted, and neither is a truth value, which is what YAML
reads ``yes``, ``no``, ``on`` and ``off`` as.
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
    """A frozen value; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
