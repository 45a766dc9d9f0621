"""Clicks with a planted truth: what the best possible model would score is known.

Ids follow Zipf's law, dense features are uniform with variance 1, some features are bags. The
log-odds of a click are not linear in any of them::

    bias + sum of the ids' effects + mean effect of each bag + u_a . u_b (the first two ids)
         + sum of sin(2 x_d) / 2 over dense features + x_0 w_a (the first dense with the first id)

so a model needs embeddings, their products, and a non-linear tower to come near. The label is a
draw with that probability p, and the Bayes log loss is the mean of -(p ln p + (1 - p) ln(1 - p)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.click_log import SPLITS, ClickLog
from recsys.data.rows import Bag, Rows
from recsys.data.schema import Schema, SparseFeature
from recsys.data.shuffle import uniforms
from recsys.data.writer import ClickLogWriter

Floats = npt.NDArray[np.float64]

_LATENT = 3
_CHUNK_ROWS = 1 << 15
_ROW_STREAM, _TRUTH_STREAM = 0, 1


@dataclass(frozen=True)
class Synthetic:
    """A truth and its rows: any slice of rows can be had, always the same.

    ``cardinalities`` and ``bag_cardinalities`` count the ids that occur; tables have one row more,
    row 0, which no row of the log uses. Ids have probability proportional to ``rank ** -zipf``.
    A bag holds 1 to ``longest_bag`` ids.
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
    def schema(self) -> Schema:
        """Dense ``x0, ...``, single-valued ``c0, ...`` (``c0`` is the group), bags ``b0, ...``."""
        single = [
            SparseFeature(name=f"c{t}", cardinality=size + 1)
            for t, size in enumerate(self.cardinalities)
        ]
        multi = [
            SparseFeature(name=f"b{t}", cardinality=size + 1, multi_valued=True)
            for t, size in enumerate(self.bag_cardinalities)
        ]
        return Schema(
            dense=tuple(f"x{d}" for d in range(self.dense)),
            sparse=(*single, *multi),
            group="c0",
        )

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


def bayes_log_loss(probability: Floats) -> Floats:
    """Return the expected log loss (nats) of each row for one who knows its probability."""
    return -(probability * np.log(probability) + (1 - probability) * np.log1p(-probability))


def write_synthetic(
    directory: Path | str,
    truth: Synthetic | None = None,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    replace: bool = False,
) -> ClickLog:
    """Write a synthetic click log, the last shares of its rows as valid and test, and open it.

    ``log.meta["bayes_log_loss"]`` is the mean over all rows, ``["bayes_log_loss_of_split"]`` over
    those of each split.
    """
    truth = truth or Synthetic()
    tested, validated = round(truth.rows * test), round(truth.rows * valid)
    bounds = [0, truth.rows - tested - validated, truth.rows - tested, truth.rows]
    splits = {name: range(bounds[i], bounds[i + 1]) for i, name in enumerate(SPLITS)}
    losses = {}
    with ClickLogWriter(directory, truth.schema, replace=replace) as writer:
        for split, part in splits.items():
            losses[split] = 0.0
            for start in part[::_CHUNK_ROWS]:
                rows, probability = truth.generate(start, min(start + _CHUNK_ROWS, part.stop))
                writer.append(split, rows)
                losses[split] += float(bayes_log_loss(probability).sum())
        return writer.finish(
            {
                "reader": "synthetic",
                "bayes_log_loss": sum(losses.values()) / truth.rows,
                "bayes_log_loss_of_split": {
                    split: losses[split] / len(part) for split, part in splits.items() if part
                },
            }
        )
