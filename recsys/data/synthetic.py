"""Synthetic clicks with planted truth: the best possible log loss is known.

Ids follow Zipf's law, dense features are uniform with variance 1, some features are bags. The
log-odds of a click are::

    bias + sum of the ids' effects + mean effect of each bag + u_a . u_b (the first two ids)
         + sum of sin(2 x_d) / 2 over dense features + x_0 w_a (the first dense with the first id)

so a good model needs embeddings, their products, and a non-linear tower. The label is a draw with
that probability p; the Bayes log loss is the mean of -(p ln p + (1 - p) ln(1 - p)).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys.data.click_log import ClickLog
from recsys.data.preparation import Split, SplitBy, prepare
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Traits
from recsys.data.readers.request import Request
from recsys.data.rows import Bag, Rows
from recsys.data.shuffle import uniforms
from recsys.errors import ConfigError

Floats = npt.NDArray[np.float64]

_LATENT = 3
_CHUNK_ROWS = 1 << 15
_ROW_STREAM, _TRUTH_STREAM = 0, 1
_MOST_ROWS = 10**10


@dataclass(frozen=True)
class Synthetic:
    """A truth and its rows; any slice of rows can be generated, reproducibly.

    ``cardinalities`` and ``bag_cardinalities`` are the numbers of ids; tables have one row more,
    the unused row 0. Ids have probability proportional to ``rank ** -zipf``. A bag has 1 to
    ``longest_bag`` ids.
    """

    rows: int = 100_000
    seed: int = 0
    dense: int = 4
    cardinalities: tuple[int, ...] = (2000, 1000, 200, 50)
    bag_cardinalities: tuple[int, ...] = (300, 30)
    longest_bag: int = 4
    zipf: float = 1.05
    bias: float = -1.0

    @property
    def columns(self) -> Columns:
        """Dense ``x0, ...``, single-valued ``c0, ...`` (``c0`` is the group), bags ``b0, ...``."""
        single = [
            Categorical(name=f"c{number}", encoding=f"codes:{size}")
            for number, size in enumerate(self.cardinalities)
        ]
        multi = [
            Categorical(name=f"b{number}", encoding=f"codes:{size}", multi_valued=True)
            for number, size in enumerate(self.bag_cardinalities)
        ]
        return Columns(
            dense=tuple(f"x{number}" for number in range(self.dense)),
            categorical=(*single, *multi),
            group="c0",
        )

    @property
    def traits(self) -> Traits:
        """Rows are independent; their order serves as time."""
        return Traits(in_time_order=True)

    @property
    def meta(self) -> dict[str, Any]:
        """The parameters of the truth and the Bayes log loss over all rows."""
        return {
            "reader": "synthetic",
            "truth": asdict(self),
            "bayes_log_loss": self.bayes_log_loss(0, self.rows),
        }

    def row_count(self) -> int:
        """Return the number of rows."""
        return self.rows

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows; the code of an id is the id minus 1."""
        for start in range(0, self.rows, _CHUNK_ROWS):
            rows, _ = self.generate(start, min(start + _CHUNK_ROWS, self.rows))
            bags = (
                pa.ListArray.from_arrays(bag.offsets.astype(np.int32), bag.values - 1)
                for bag in rows.bags.values()
            )
            yield Chunk(
                origin=Origin(path=Path("synthetic"), first_row=start + 1),
                label=rows.label,
                dense=rows.dense,
                categorical=(*(pa.array(ids - 1) for ids in rows.ids.T), *bags),
                group=pa.array(rows.group),
            )

    def bayes_log_loss(self, start: int, stop: int) -> float:
        """Return the mean over rows ``start .. stop`` of the entropy (nats) of their labels."""
        total = 0.0
        for first in range(start, stop, _CHUNK_ROWS):
            _, p = self.generate(first, min(first + _CHUNK_ROWS, stop))
            total -= float((p * np.log(p) + (1 - p) * np.log1p(-p)).sum())
        return total / (stop - start)

    def generate(self, start: int, stop: int) -> tuple[Rows, Floats]:
        """Return rows ``start .. stop`` and the true probability of each label, float64 [n]."""
        draws = self._draws(start, stop)
        dense = (2 * draws[:, : self.dense] - 1) * np.sqrt(3.0)
        column = self.dense
        ids = np.empty((stop - start, len(self.cardinalities)), np.int32)
        for t, size in enumerate(self.cardinalities):
            ids[:, t] = 1 + self._zipf_ranks(draws[:, column], size)
            column += 1
        bags = {}
        for t, size in enumerate(self.bag_cardinalities):
            width = 1 + self.longest_bag
            bags[f"b{t}"] = self._bag(draws[:, column : column + width], size)
            column += width
        probability = 1 / (1 + np.exp(-self._log_odds(dense, ids, bags)))
        rows = Rows(
            label=(draws[:, column] < probability).astype(np.float32),
            dense=dense.astype(np.float32),
            ids=ids,
            bags=bags,
            group=ids[:, 0].astype(np.int64),
        )
        return rows, probability

    def _draws(self, start: int, stop: int) -> Floats:
        """Return the uniform numbers that make rows ``start .. stop``, one line per row."""
        per_row = (
            self.dense
            + len(self.cardinalities)
            + len(self.bag_cardinalities) * (1 + self.longest_bag)
            + 1
        )
        key = _ROW_STREAM << 64 | self.seed
        return uniforms(start * per_row, stop * per_row, seed=key).reshape(-1, per_row)

    def _zipf_ranks(self, draws: Floats, size: int) -> npt.NDArray[np.int64]:
        """Return ids 0 .. size - 1 by inversion of Zipf's distribution."""
        weights = np.cumsum(np.arange(1, size + 1) ** -self.zipf)
        return np.searchsorted(weights, draws * weights[-1], side="right")

    def _bag(self, draws: Floats, size: int) -> Bag:
        """Return bags whose length comes from the first draw and whose ids from the others."""
        lengths = 1 + (draws[:, 0] * self.longest_bag).astype(np.int64)
        held = np.arange(self.longest_bag) < lengths[:, None]
        ranks = self._zipf_ranks(draws[:, 1:][held], size)
        return Bag(
            values=(1 + ranks).astype(np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
        )

    def _log_odds(self, dense: Floats, ids: npt.NDArray[np.int32], bags: dict[str, Bag]) -> Floats:
        """Return the true log-odds of a click, float64 [n]."""
        effects = self._effects
        odds = self.bias + np.sin(2 * dense).sum(axis=1) / 2
        for t in range(len(self.cardinalities)):
            odds += effects[t][ids[:, t], 0]
        for t, bag in enumerate(bags.values(), start=len(self.cardinalities)):
            total = np.add.reduceat(effects[t][bag.values, 0], bag.offsets[:-1])
            odds += total / np.diff(bag.offsets)
        if len(self.cardinalities) > 1:
            latent = slice(1, 1 + _LATENT)
            odds += (effects[0][ids[:, 0], latent] * effects[1][ids[:, 1], latent]).sum(axis=1)
        if self.dense and self.cardinalities:
            odds += dense[:, 0] * effects[0][ids[:, 0], 1 + _LATENT] / 2
        return odds

    @cached_property
    def _effects(self) -> list[Floats]:
        """Per table [rows, 2 + latent] in (-1.2, 1.2): the effect, the latent vector, the slope."""
        sizes = [size + 1 for size in (*self.cardinalities, *self.bag_cardinalities)]
        ends = np.cumsum(sizes)
        width = 2 + _LATENT
        draws = uniforms(0, int(ends[-1]) * width, seed=_TRUTH_STREAM << 64 | self.seed)
        return np.split((draws.reshape(-1, width) - 0.5) * 2.4, ends[:-1])


def open_synthetic(request: Request) -> Synthetic:
    """Return the default truth with the requested number of rows and seed."""
    rows = Synthetic.rows if request.rows is None else request.rows
    seed = Synthetic.seed if request.seed is None else request.seed
    if not 1 <= rows <= _MOST_ROWS or not 0 <= seed < 2**64:
        raise ConfigError(
            f"rows {rows} and seed {seed}: expected at least 1 row, a seed from 0 on,"
            f" and at most {_MOST_ROWS:,} rows"
        )
    return Synthetic(rows=rows, seed=seed)


def write_synthetic(
    directory: Path | str,
    truth: Synthetic | None = None,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    replace: bool = False,
) -> ClickLog:
    """Write a synthetic click log, its last rows as valid and test, and open it.

    ``log.meta["bayes_log_loss"]`` is the mean log loss of the truth over all rows.
    """
    shares = Split(by=SplitBy.TIME, valid=valid, test=test)
    return prepare(truth or Synthetic(), directory, split=shares, replace=replace)
