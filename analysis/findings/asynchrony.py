"""What workers that never wait for each other cost in PD and accuracy, and what damping gives.

Arms are named ``ACTIVATION_WORKERS``, with ``_window_τ`` where a window is not one batch,
``_scale_PERCENT`` where changes are scaled, and ``_real`` where processes train, not logical
workers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import intervals
from analysis.errors import ResultsError
from analysis.figures.style import Look, looks
from analysis.findings.drawing import (
    DODGE,
    LOSS_LABEL,
    PD_LABEL,
    draw_series,
    logarithmic_x,
    panels,
    pd_intervals,
)
from analysis.findings.finding import Finding, Measured, Table
from analysis.findings.words import (
    Verdicts,
    by_difference,
    by_ratio,
    difference_cell,
    direction,
    listed,
    pd,
)
from analysis.intervals import Comparison, Units
from analysis.summary import Estimates, measure_auc

FULL = 100
TITLES = {"relu": "ReLU", "smelu": "SmeLU(1)"}
_NAME = re.compile(r"(relu|smelu)_(\d+)(?:_window_(\d+))?(?:_scale_(\d+))?(_real)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How an arm was trained."""

    is_real: bool = False
    window: int = 1
    percent: int = FULL
    """Of a change that is applied"""
    workers: int
    activation: str

    @property
    def batches(self) -> int:
        """Batches in the hands of all workers at once."""
        return self.workers * self.window

    @property
    def scale(self) -> float:
        return self.percent / FULL


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """What an arm was measured to do."""

    setting: Setting
    estimates: Estimates
    auc: Units
    mean_staleness: float
    """Windows of others between a pull and its push"""


Arms = dict[Setting, Arm]
Metric = Callable[[Arm], Units]


def setting_of(name: str) -> Setting:
    """Return how the arm of a name was trained.

    Raises:
        ResultsError: it is no name of this experiment.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ResultsError(f"arm {name}: expected a name such as relu_16_window_4_scale_10")
    activation, workers, window, percent, real = found.groups()
    return Setting(
        activation=activation,
        workers=int(workers),
        window=int(window or 1),
        percent=int(percent or FULL),
        is_real=real is not None,
    )


def find(found: Measured) -> Finding:
    """Compare all numbers of workers with one, and ReLU with SmeLU at each."""
    arms = _arms(found)
    return Finding(
        title="Asynchrony: what do workers that never wait cost?",
        question=(
            "Replicas start from the same weights and see the same stream; only the order in which "
            "workers' changes are applied differs. How much PD does that alone cause, what does "
            "it cost in accuracy, and where must changes be damped (`delta_scale`)? Logical "
            "workers take exponential times for a window of τ batches, so that W of them make a "
            "change stale by W − 1 others on average. The training split has 625 batches: 256 in "
            "the workers' hands at once are two fifths of all there is to learn from. One worker "
            "is not asynchronous: its PD is 0, and its log loss and AUC are what the others are "
            "set beside."
        ),
        table=_table(arms),
        figure=_draw(arms),
        caption=(
            "Relative PD, and log loss and AUC beside one worker's of the same activation, against "
            "the batches in the workers' hands (workers × τ). Lines: τ = 1; hollow, unjoined: 16 "
            "workers of a larger τ, and two real processes."
        ),
        verdict=_verdict(arms),
        reading=tuple(_reading(arms)),
    )


def _arms(found: Measured) -> Arms:
    arms = {}
    for name, of_trials in found.arms.items():
        setting = setting_of(name)
        staleness = of_trials.read_staleness()
        if not staleness:
            raise ResultsError(f"{name}: no staleness.json, expected what workers write")
        arms[setting] = Arm(
            setting=setting,
            estimates=found[name],
            auc=measure_auc(of_trials),
            mean_staleness=float(np.average(list(staleness), weights=list(staleness.values()))),
        )
    return arms


def _alone(arms: Arms, activation: str) -> Arm:
    return arms[Setting(activation=activation, workers=1)]


def _series(arms: Arms, **fields: object) -> list[Arm]:
    """Return the arms with these fields, by the batches in their workers' hands."""
    matching = [
        arm
        for arm in arms.values()
        if all(getattr(arm.setting, name) == value for name, value in fields.items())
    ]
    return sorted(matching, key=lambda arm: arm.setting.batches)


def _table(arms: Arms) -> Table:
    rows = []
    for setting in sorted(arms, key=_order):
        arm, alone = arms[setting], _alone(arms, setting.activation)
        title = TITLES[setting.activation] + (" (real)" if setting.is_real else "")
        rows.append(
            (
                title,
                str(setting.workers),
                str(setting.window),
                f"{setting.scale:g}",
                f"{arm.mean_staleness:.1f}",
                pd(arm.estimates.relative_pd),
                _unless_same(arm, alone, _log_loss),
                _unless_same(arm, alone, _auc),
            )
        )
    return Table(
        headings=(
            "activation",
            "workers",
            "τ",
            "scale",
            "mean staleness",
            "relative PD",
            "log loss − one worker's",
            "AUC − one worker's",
        ),
        rows=tuple(rows),
    )


def _order(setting: Setting) -> tuple[object, ...]:
    return setting.activation, setting.is_real, setting.window, -setting.percent, setting.workers


def _unless_same(arm: Arm, alone: Arm, metric: Metric) -> str:
    return "" if arm is alone else difference_cell(metric(arm), metric(alone))


def _draw(arms: Arms) -> Figure:
    figure, axes = panels(8.4, 3.4, 3)
    percents = sorted({setting.percent for setting in arms}, reverse=True)
    kinds = [(name, percent) for percent in percents for name in TITLES]
    look = looks([f"{name} {percent}" for name, percent in kinds])
    for number, (name, percent) in enumerate(kinds):
        scaled = "" if percent == FULL else f", changes × {percent / FULL:g}"
        series = _series(arms, activation=name, percent=percent, window=1, is_real=False)
        each = look[f"{name} {percent}"]
        _draw_series(axes, arms, series, each, DODGE**number, label=TITLES[name] + scaled)
    for number, name in enumerate(TITLES, start=len(kinds)):
        each = look[f"{name} {FULL}"]
        longer = [arm for arm in _series(arms, activation=name) if arm.setting.window > 1]
        real = _series(arms, activation=name, is_real=True)
        _draw_series(axes, arms, [*real, *longer], each, DODGE**number)
    logarithmic_x(axes, sorted({setting.batches for setting in arms}), base=2)
    labels = (PD_LABEL, LOSS_LABEL.format("one worker's"), "AUC − one worker's")
    for panel, label in zip(axes, labels, strict=True):
        panel.set_xlabel("batches in the workers' hands")
        panel.set_ylabel(label)
        panel.tick_params(axis="x", labelsize=7.5)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(TITLES)
    )
    return figure


def _draw_series(
    axes: Sequence[Axes],
    arms: Arms,
    series: Sequence[Arm],
    look: Look,
    dodge: float,
    *,
    label: str = "",
) -> None:
    """Draw arms in all three panels; those of no label are apart: hollow and unjoined."""
    x = [dodge * arm.setting.batches for arm in series]
    how: dict[str, Any] = {"label": label, "joined": bool(label), "hollow": not label}
    found = [arm.estimates for arm in series]
    draw_series(axes[0], x, pd_intervals(found), look, scale=100, **how)
    for panel, metric in zip(axes[1:], (_log_loss, _auc), strict=True):
        beside = [_beside_one(arms, arm, metric).interval for arm in series]
        draw_series(panel, x, beside, look, **how)


def _log_loss(arm: Arm) -> Units:
    return arm.estimates.log_loss


def _auc(arm: Arm) -> Units:
    return arm.auc


def _beside_one(arms: Arms, arm: Arm, metric: Metric) -> Comparison:
    """Compare an arm with one worker of its activation."""
    alone = _alone(arms, arm.setting.activation)
    return intervals.difference(metric(arm), metric(alone))


def _verdict(arms: Arms) -> str:
    """Tell whether SmeLU's PD is lower than ReLU's at each number of workers."""
    verdicts = Verdicts()
    for relu in _undamped(arms, "relu"):
        smelu = arms[replace(relu.setting, activation="smelu")]
        beside = intervals.ratio(smelu.estimates.relative_pd, relu.estimates.relative_pd)
        verdicts.add(str(relu.setting.workers), beside)
    words = verdicts.words("lower than ReLU's for", "higher for", "not told apart for")
    return (
        f"{verdicts.for_the_paper()} SmeLU's PD from asynchrony alone, by number of workers, is "
        f"{words}."
    )


def _undamped(arms: Arms, activation: str) -> list[Arm]:
    """Return the arms of more than one logical worker, of τ = 1 and whole changes."""
    series = _series(arms, activation=activation, window=1, percent=FULL, is_real=False)
    return [arm for arm in series if arm.setting.workers > 1]


def _reading(arms: Arms) -> list[str]:
    return [
        *(_price(arms, name) for name in TITLES),
        *(_damping(arms, name) for name in TITLES),
        *(_longer_windows(arms, name) for name in TITLES),
        *(_real(arms, name) for name in TITLES),
    ]


def _price(arms: Arms, activation: str) -> str:
    """Say from how many workers on asynchrony costs accuracy."""
    found = []
    for metric, worse in ((_log_loss, "higher"), (_auc, "lower")):
        by_direction: dict[str, list[str]] = {"lower": [], "higher": [], "open": []}
        for arm in _undamped(arms, activation):
            way = direction(_beside_one(arms, arm, metric), none=0.0)
            by_direction[way].append(str(arm.setting.workers))
        better = "lower" if worse == "higher" else "higher"
        found.append(
            f"{worse} than one worker's with {listed(by_direction[worse])} workers, not told apart "
            f"with {listed(by_direction['open'])}, {better} with {listed(by_direction[better])}"
        )
    return f"**What it costs {TITLES[activation]}**: the log loss is {found[0]}; AUC is {found[1]}."


def _damping(arms: Arms, activation: str) -> str:
    """Say where changes must be damped: where a smaller scale lowers the log loss."""
    sentences, needed = [], []
    damped = [arm for arm in _series(arms, activation=activation) if arm.setting.percent < FULL]
    for arm in sorted(damped, key=lambda each: (each.setting.workers, -each.setting.percent)):
        whole = arms[replace(arm.setting, percent=FULL)]
        loss = intervals.difference(arm.estimates.log_loss, whole.estimates.log_loss)
        if direction(loss, none=0.0) == "lower":
            needed.append(f"{arm.setting.workers} workers (× {arm.setting.scale:g})")
        sentences.append(
            f"with {arm.setting.workers} workers × {arm.setting.scale:g} the log loss is "
            f"{by_difference(arm.estimates.log_loss, whole.estimates.log_loss)} and PD is "
            f"{by_ratio(arm.estimates.relative_pd, whole.estimates.relative_pd)}"
        )
    return (
        f"**Damping, {TITLES[activation]}**: a `delta_scale` below 1 lowers the log loss with "
        f"{listed(needed)}. Beside whole changes, {'; '.join(sentences) or 'nothing was tried'}."
    )


def _longer_windows(arms: Arms, activation: str) -> str:
    """Compare fewer workers of a larger τ with more of τ = 1 that hold as many batches."""
    sentences = []
    for arm in _series(arms, activation=activation):
        setting = arm.setting
        same = Setting(activation=activation, workers=setting.batches)
        if setting.window == 1 or same not in arms:
            continue
        many = arms[same].estimates
        sentences.append(
            f"{setting.workers} workers of τ = {setting.window} beside {setting.batches} of τ = 1: "
            f"PD is {by_ratio(arm.estimates.relative_pd, many.relative_pd)}, the log loss "
            f"{by_difference(arm.estimates.log_loss, many.log_loss)}"
        )
    return (
        f"**As many batches in fewer hands, {TITLES[activation]}**: "
        f"{'; '.join(sentences) or 'nothing was tried'}."
    )


def _real(arms: Arms, activation: str) -> str:
    """Compare processes with logical workers."""
    sentences = []
    for arm in _series(arms, activation=activation, is_real=True):
        logical = arms[replace(arm.setting, is_real=False)]
        sentences.append(
            f"{arm.setting.workers} processes on Ray beside as many logical workers: PD is "
            f"{by_ratio(arm.estimates.relative_pd, logical.estimates.relative_pd)}, the log loss "
            f"{by_difference(arm.estimates.log_loss, logical.estimates.log_loss)}, with a mean "
            f"staleness of {arm.mean_staleness:.2f} windows beside {logical.mean_staleness:.2f}"
        )
    return f"**Real workers, {TITLES[activation]}**: {'; '.join(sentences) or 'nothing was tried'}."
