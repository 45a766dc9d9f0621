"""95 % intervals for metrics of several replicas on one sample of examples.

Examples come in clusters (groups), each replica belongs to several pairs of models, and all
replicas predict the same examples, so the two samples are crossed. A plain bootstrap over few
replicas draws a replica twice, where PD is 0, and is far too narrow. The variance is the sum of

- **examples**: the covariance of the units (models or pairs of models) over clusters, from the
  delete-one-cluster jackknife;
- **replicas**: the delete-one-replica jackknife of the mean over units, for pairs that of a
  U-statistic (Arvesen 1969, doi 10.1214/aoms/1177697287);
- minus the interaction of replica and cluster, which **both** contain: the jackknife over replicas
  of the clusters' influences. The sum is never less than the variance over examples alone.

Bounds are quantiles of Student's t with Satterthwaite's degrees of freedom: M - 1 for replicas, and
the effective number of clusters minus one for examples. Positive quantities and ratios use the log
scale. Comparisons of two arms are paired over examples, and over replicas by replica number.

``python -m jobs.benchmark coverage`` measures coverage. With four and eight replicas it is 92 to 97
% if replicas differ in quality, as trained ones do. Intervals are too wide if replicas differ only
by independent noise (PD ratio 99 to 100 %), and too narrow if few replicas have a long-tailed loss
(89 % with three, 92 % with four).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
#: With two, a PD has one pair and no spread, and a mean has one degree of freedom.
FEWEST_REPLICAS = 3
#: Beyond so many replicas in all a comparison counts as one that replicas do not settle.
MOST_REPLICAS = 1000
#: A few uneven groups leave so few degrees of freedom that the bound would overflow.
LARGEST_EXPONENT = 300.0
SINGLE_GROUP = "a single group of examples has no spread"


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with its 95 % interval (or of another requested confidence).

    ``covers_replicas`` is False with fewer than three replicas: bounds then cover examples only.
    ``reason`` says why ``value`` or its bounds are NaN.
    """

    value: float
    low: float
    high: float
    replicas: int
    covers_replicas: bool
    reason: str = ""

    def contains(self, value: float) -> bool:
        """Return whether ``value`` is inside; False for NaN bounds."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The difference (null value 0) or ratio (null value 1) of an arm to another.

    ``settled``: the interval excludes the null value. ``more_replicas`` is the number of further
    replicas of each arm that would settle it if the values stayed as measured; 0 if settled, None
    if no number would or fewer than three replicas exist. ``p_value`` is two-sided.
    """

    interval: Interval
    settled: bool
    more_replicas: int | None
    p_value: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """One metric of each unit (a model or a pair of models) on the same examples.

    ``values`` is ``(U,)``. ``influence`` ``(U, G)`` is each cluster's influence, scaled so that
    ``influence @ influence.T`` is the covariance over samples of examples. ``replicas`` are the M
    replica numbers; ``order`` is 1 for models and 2 for pairs in the order of
    ``itertools.combinations``. ``clusters`` is the effective number of clusters, ``within`` the
    range of the metric. ``reason`` says why ``values`` are NaN, ``unbounded`` why bounds are.
    """

    values: Floats
    influence: Floats
    replicas: tuple[int, ...]
    order: int
    clusters: float
    within: tuple[float, float] = (-math.inf, math.inf)
    reason: str = ""
    unbounded: str = ""

    @property
    def mean(self) -> float:
        """The metric: the mean over units."""
        return float(self.values.mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The variance of an estimate over examples, and over ``count`` replicas with interaction."""

    examples: float
    replicas: float
    df_examples: float
    count: int

    def half_width(self, count: int, confidence: float) -> float:
        """Return half the width of the interval with ``count`` replicas."""
        variance, df = self._of(count)
        return float(student.ppf((1 + confidence) / 2, df)) * math.sqrt(variance)

    def p_value(self, effect: float) -> float:
        """Return the two-sided p-value of an effect."""
        variance, df = self._of(self.count)
        if variance == 0:
            return 0.0 if effect else 1.0
        return 2.0 * float(student.sf(abs(effect) / math.sqrt(variance), df))

    def _of(self, count: int) -> tuple[float, float]:
        """Return variance and degrees of freedom with ``count`` replicas."""
        replicas = self.replicas * self.count / count
        known = self.examples**2 / self.df_examples
        if replicas > 0:
            known += replicas**2 / (count - 1)
        variance = self.examples + replicas
        return variance, variance**2 / known if known > 0 else self.df_examples


def estimate(units: Units, *, positive: bool = False) -> Interval:
    """Return the interval of the mean over units; on the log scale if ``positive``.

    Bounds are clipped to the metric's range, which does not change coverage.
    """
    logarithmic = positive and units.mean > 0
    slope = 1.0 / units.mean if logarithmic else 1.0
    found = _interval(units.mean, [(units, slope)], logarithmic, CONFIDENCE)
    return _clipped(found, *units.within)


def of_mean(values: Floats, alone: str) -> Interval:
    """Return the t interval of the mean of independent ``values`` ``(R,)``.

    A single value has no bounds, for the reason ``alone``.
    """
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return undefined(alone, replicas=count, value=mean)
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, count - 1))
    half = quantile * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(
        value=mean, low=mean - half, high=mean + half, replicas=count, covers_replicas=True
    )


def undefined(reason: str, *, replicas: int, value: float = math.nan) -> Interval:
    """Return an interval without bounds, with the reason."""
    return Interval(
        value=value,
        low=math.nan,
        high=math.nan,
        replicas=replicas,
        covers_replicas=False,
        reason=reason,
    )


def each_of(count: int) -> float:
    """Return the confidence at which ``count`` intervals hold jointly with 95 % (Bonferroni)."""
    return 1.0 - (1.0 - CONFIDENCE) / count


def difference(
    units: Units, baseline: Units, *, confidence: float = CONFIDENCE, against: float = 0.0
) -> Comparison:
    """Compare ``units.mean() - baseline.mean()`` with ``against``."""
    value = units.mean - baseline.mean
    parts = [(units, 1.0), (baseline, -1.0)]
    return _comparison(value, against, parts, logarithmic=False, confidence=confidence)


def ratio(
    units: Units, baseline: Units, *, confidence: float = CONFIDENCE, against: float = 1.0
) -> Comparison:
    """Compare ``units.mean() / baseline.mean()`` with ``against`` > 0; NaN if the baseline is 0."""
    parts = [(units, 1.0), (baseline, -1.0)]
    if baseline.mean == 0:
        return _unknown(parts, "the baseline's is 0")
    value = units.mean / baseline.mean
    if value > 0:
        parts = [(units, 1.0 / units.mean), (baseline, -1.0 / baseline.mean)]
    return _comparison(value, against, parts, logarithmic=True, confidence=confidence)


def contrast(value: float, parts: list[tuple[Units, float]]) -> Comparison:
    """Compare a smooth function of several arms' metrics with 0, by the delta method.

    ``value`` is the function's value; each part is an arm's units and the partial derivative by
    their mean.
    """
    return _comparison(value, 0.0, parts, logarithmic=False, confidence=CONFIDENCE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method; NaN are not counted.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    found = np.asarray(p_values, np.float64)
    order = np.argsort(found)[: np.count_nonzero(~np.isnan(found))]
    steps = found[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(each) for each in found]


def _comparison(
    value: float,
    against: float,
    parts: list[tuple[Units, float]],
    *,
    logarithmic: bool,
    confidence: float,
) -> Comparison:
    interval = _interval(value, parts, logarithmic and value > 0, confidence)
    if math.isnan(interval.low):
        return Comparison(interval=interval, settled=False, more_replicas=None)
    if not interval.covers_replicas:
        return Comparison(interval=interval, settled=False, more_replicas=None)
    spread = _spread(parts)
    settled = not interval.contains(against)
    effect = abs(math.log(value / against) if logarithmic and value > 0 else value - against)
    return Comparison(
        interval=interval,
        settled=settled,
        more_replicas=0 if settled else _more_replicas(effect, spread, confidence),
        p_value=spread.p_value(effect),
    )


def _more_replicas(effect: float, spread: Spread, confidence: float) -> int | None:
    """Return how many more replicas make the half width smaller than ``effect``."""
    counts = range(spread.count + 1, MOST_REPLICAS + 1)
    enough = bisect_left(
        counts, True, key=lambda count: effect > spread.half_width(count, confidence)
    )
    return counts[enough] - spread.count if enough < len(counts) else None


def _interval(
    value: float, parts: list[tuple[Units, float]], logarithmic: bool, confidence: float
) -> Interval:
    reason = next((units.reason for units, _ in parts if units.reason), "")
    if reason:
        return _unknown(parts, reason).interval
    unbounded = next((units.unbounded for units, _ in parts if units.unbounded), "")
    if unbounded:
        return _unknown(parts, unbounded, value).interval
    spread = _spread(parts)
    if spread.df_examples <= 0:
        return _unknown(parts, SINGLE_GROUP, value).interval
    half = spread.half_width(spread.count, confidence)
    if logarithmic:
        factor = math.exp(min(half, LARGEST_EXPONENT))
        low, high = value / factor, value * factor
    else:
        low, high = value - half, value + half
    return Interval(
        value=value,
        low=low,
        high=high,
        replicas=spread.count,
        covers_replicas=spread.count >= FEWEST_REPLICAS,
    )


def _clipped(interval: Interval, lowest: float, highest: float) -> Interval:
    """Clip bounds to a range; NaN bounds stay, and the value stays inside."""
    if math.isnan(interval.low):
        return interval
    low = max(interval.low, min(lowest, interval.value))
    high = min(interval.high, max(highest, interval.value))
    return replace(interval, low=low, high=high)


def _unknown(parts: list[tuple[Units, float]], reason: str, value: float = math.nan) -> Comparison:
    count = min(len(units.replicas) for units, _ in parts)
    interval = undefined(reason, replicas=count, value=value)
    return Comparison(interval=interval, settled=False, more_replicas=None)


def _spread(parts: list[tuple[Units, float]]) -> Spread:
    """Return the variance of ``sum(slope * units.mean)``, paired over clusters and replicas."""
    numbers = sorted({number for units, _ in parts for number in units.replicas})
    count = min(len(units.replicas) for units, _ in parts)
    influence = sum(slope * units.influence.mean(axis=0) for units, slope in parts)
    examples = float(np.sum(influence**2))
    replicas = both = 0.0
    if count >= FEWEST_REPLICAS:
        rows = [(units, slope * _delete_one(units, numbers)) for units, slope in parts]
        replicas = float(np.sum(sum(row @ units.values for units, row in rows) ** 2))
        both = float(np.sum(sum(row @ units.influence for units, row in rows) ** 2))
    return Spread(
        examples=max(examples - both, 0.0),
        replicas=max(replicas, both),
        df_examples=min(units.clusters for units, _ in parts) - 1.0,
        count=count,
    )


def _delete_one(units: Units, numbers: list[int]) -> Floats:
    """Return ``(R, U)``: row r maps units to the influence of replica r on their mean.

    The squares sum to the jackknife variance. Rows of missing replicas are zero.
    """
    models = len(units.replicas)
    if units.order == 1:
        rows = (np.eye(models) - 1.0 / models) / math.sqrt(models * (models - 1))
    else:
        pairs = list(combinations(range(models), 2))
        shares = np.array([[float(model in pair) for pair in pairs] for model in range(models)])
        scale = 2.0 / (models - 2) * math.sqrt((models - 1) / models)
        rows = (shares / (models - 1) - 1.0 / len(pairs)) * scale
    placed = np.zeros((len(numbers), rows.shape[1]))
    placed[[numbers.index(number) for number in units.replicas]] = rows
    return placed
