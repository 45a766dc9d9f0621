"""What an hour costs: from a team's file, or from the command line."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from analysis.spending import Prices
from jobs.validation import read_validated
from recsys.frozen import Frozen

PRICES = Path("cluster", "prices.yaml")


class _PriceConfig(Frozen):
    per_core_hour: float | None = Field(None, ge=0)
    per_gpu_hour: float | None = Field(None, ge=0)
    currency: str = ""


def read_prices(
    path: Path | None, *, per_core_hour: float | None = None, per_gpu_hour: float | None = None
) -> Prices:
    """Return the prices of a file, by default ``cluster/prices.yaml``; those given come first.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    found = _PriceConfig()
    if path is not None or PRICES.exists():
        found = read_validated(path or PRICES, _PriceConfig)
    return Prices(
        per_core_hour=found.per_core_hour if per_core_hour is None else per_core_hour,
        per_gpu_hour=found.per_gpu_hour if per_gpu_hour is None else per_gpu_hour,
        currency=found.currency,
    )
