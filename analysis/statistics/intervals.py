"""95 % intervals for what is measured on several replicas over one sample of examples.

Examples come in clusters (groups), a replica is shared by all pairs of models that it is part of,
and every replica sees the same examples: two crossed samples. A plain bootstrap over few replicas
draws the same replica twice, where a PD is 0, and is far too narrow; so here the variance is

- **examples**: the delete-one-cluster jackknife of each unit (a model, or a pair of models) gives
  each cluster's influence, and from it the covariance of the units over samples of examples;
- **replicas**: the delete-one-replica jackknife of the mean over units, which for pairs is that of
  a U-statistic (Arvesen 1969, doi 10.1214/aoms/1177697287);
- less what **both** hold, the interaction of replica and cluster: the jackknife over replicas of
  the clusters' influences. The sum is never less than the variance over examples alone.

Bounds are quantiles of Student's t with Satterthwaite's degrees of freedom; replicas have M - 1 of
them, examples the effective number of clusters less one. Positive quantities and ratios are treated
on the log scale. A comparison of two arms is paired: over examples always, over replicas by their
number, for arms share the seeds of a number (where they do not, it stays valid and gains nothing).

How often the intervals cover is measured by ``python -m jobs.benchmark coverage``: with four and
eight replicas between 92 and 97 % where these differ in strength, as trained ones do. The method
errs towards width where they differ by nothing but independent noise: hardly anything of the spread
is then the replicas' own, yet M - 1 degrees of freedom are counted for it. With four replicas the
PD ratio is covered in all studies, the swap rate 99 % and relative PD 97 to 99 % of the time; with
eight the PD ratio 99 %, all else 95 %. It errs towards narrowness where the losses of few replicas
have a long tail, of which they show too little: 89 % of the time with three, 92 % with four.
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
SINGLE_GROUP = "a single group of examples shows no spread"


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A measured value and where it lies with 95 % confidence, unless another was asked for.

    ``covers_replicas`` is False where fewer than three replicas leave the examples alone to vary.
    ``reason`` says why ``value``, or its bounds, are NaN.
    """

    value: float
    low: float
    high: float
    replicas: int
    covers_replicas: bool
    reason: str = ""

    def contains(self, value: float) -> bool:
        """Tell whether ``value`` lies within; NaN bounds hold nothing."""
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How an arm differs from another: a difference (none is 0) or a ratio (none is 1).

    ``settled`` tells that the interval leaves out the value compared against, which is none unless
    another was asked for. ``more_replicas`` is how many more of each arm would settle an open
    comparison if the values stayed as measured: 0 where it is settled, None where no number of
    replicas would. Fewer than three settle nothing and leave it unknown how many would: None.
    ``p_value`` is that of the two-sided test against the same value; NaN where none is possible.
    """

    interval: Interval
    settled: bool
    more_replicas: int | None
    p_value: float = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """One metric of each unit, a model or a pair of models, over the same examples.

    ``values`` are ``(U,)``. ``influence`` ``(U, G)`` holds what each cluster of examples adds to
    their error, scaled so that ``influence @ influence.T`` is their covariance over samples of
    examples. ``replicas`` are the numbers of the M models; ``order`` is 1 where units are models
    and 2 where they are the pairs of ``itertools.combinations``. ``clusters`` is the effective
    number of clusters. ``within`` is the range that the metric cannot leave. ``reason`` says why
    ``values`` are NaN; ``unbounded`` why they have no bounds, where they are not.
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
    """An estimate's variance over examples alone and over ``count`` replicas, which it falls with.

    The interaction of the two falls with the number of replicas and belongs to them.
    """

    examples: float
    replicas: float
    df_examples: float
    count: int

    def half_width(self, count: int, confidence: float) -> float:
        """Return half the width that the interval of ``count`` replicas would have."""
        variance, df = self._of(count)
        return float(student.ppf((1 + confidence) / 2, df)) * math.sqrt(variance)

    def p_value(self, effect: float) -> float:
        """Return the two-sided p-value of an effect, by the test that the interval inverts."""
        variance, df = self._of(self.count)
        if variance == 0:
            return 0.0 if effect else 1.0
        return 2.0 * float(student.sf(abs(effect) / math.sqrt(variance), df))

    def _of(self, count: int) -> tuple[float, float]:
        """Return the variance with ``count`` replicas, and its degrees of freedom."""
        replicas = self.replicas * self.count / count
        known = self.examples**2 / self.df_examples
        if replicas > 0:
            known += replicas**2 / (count - 1)
        variance = self.examples + replicas
        return variance, variance**2 / known if known > 0 else self.df_examples


def estimate(units: Units, *, positive: bool = False) -> Interval:
    """Return the interval of the mean over units, on the log scale where it is ``positive``.

    Bounds beyond the metric's range are moved to its edge. The truth is never beyond, so the
    interval holds it as often as before.
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
    """Return an interval without bounds, and for what reason."""
    return Interval(
        value=value,
        low=math.nan,
        high=math.nan,
        replicas=replicas,
        covers_replicas=False,
        reason=reason,
    )


def each_of(count: int) -> float:
    """Return the confidence at which all of ``count`` intervals hold 95 % of the time (Bonferroni).

    It holds however the intervals depend on each other.
    """
    return 1.0 - (1.0 - CONFIDENCE) / count


def difference(
    units: Units, baseline: Units, *, confidence: float = CONFIDENCE, against: float = 0.0
) -> Comparison:
    """Compare the difference of the means, ``units - baseline``, with ``against``."""
    value = units.mean - baseline.mean
    parts = [(units, 1.0), (baseline, -1.0)]
    return _comparison(value, against, parts, logarithmic=False, confidence=confidence)


def ratio(
    units: Units, baseline: Units, *, confidence: float = CONFIDENCE, against: float = 1.0
) -> Comparison:
    """Compare the ratio of the means, ``units / baseline``, with ``against``, which is above 0.

    NaN where the baseline's is 0.
    """
    parts = [(units, 1.0), (baseline, -1.0)]
    if baseline.mean == 0:
        return _unknown(parts, "the baseline's is 0")
    value = units.mean / baseline.mean
    if value > 0:
        parts = [(units, 1.0 / units.mean), (baseline, -1.0 / baseline.mean)]
    return _comparison(value, against, parts, logarithmic=True, confidence=confidence)


def contrast(value: float, parts: list[tuple[Units, float]]) -> Comparison:
    """Compare a smooth function of several arms' metrics with 0, by the delta method.

    ``value`` is the function's; each part is an arm's units and the function's slope in their mean.
    Arms are paired over examples and replicas as in a comparison.
    """
    return _comparison(value, 0.0, parts, logarithmic=False, confidence=CONFIDENCE)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's step-down method; NaN are no tests.

    Holm 1979, "A simple sequentially rejective multiple test procedure": at 5 % the rate of any
    false rejection is at most 5 %, however the tests depend on each other.
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
    """Return how many more replicas shrink the half width below ``effect``: it falls with each."""
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
    """Move bounds into a range; NaN ones stay, and a value beyond it by rounding stays within."""
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
    """Return ``(R, U)``: row r turns units into what replica number r adds to their mean's error.

    The rows' products sum to the jackknife variance. A number that these units lack has zeros.
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
