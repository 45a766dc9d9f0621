"""Relative PD against the width of the shuffle's window."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis import intervals
from analysis.figures.style import looks
from analysis.findings.drawing import (
    draw_series,
    label_panels,
    loss_differences,
    panels,
    pd_intervals,
)
from analysis.findings.finding import Finding, Measured, Table
from analysis.findings.words import (
    Verdicts,
    by_difference,
    by_ratio,
    difference_cell,
    listed,
    pd,
    ratio_cell,
)

WIDTHS = ("0", "500", "2000", "8000", "32000", "full")
WIDTHS_WITH_INIT = ("0", "2000", "full")
TITLES = {"relu": "ReLU", "smelu": "SmeLU(1)"}
BOTH = "_init"
#: The stored order cannot differ by a shuffle, so PD there is 0 and has no ratio.
STORED = "0"
MIDDLE = "relu_2000"


def find(found: Measured) -> Finding:
    """Compare ReLU and SmeLU from the stored order to a full shuffle."""
    return Finding(
        title="Shuffle width: how different must the orders be?",
        question=(
            "Replicas see the same examples in orders that differ within a window, from none to "
            "all of the training split. Does PD grow with the window, and does SmeLU keep its "
            "lead? At width 0 nothing but rounding is left to vary, so PD must be 0; to measure "
            "the stored order at all, the second set varies the initialisation beside the shuffle."
        ),
        table=_table(found),
        figure=_draw(found),
        caption=(
            "Relative PD, and log loss beside ReLU's at width 2000, against the shuffle's width in "
            "examples; hollow: the "
            "initialisation varies too. Widths are evenly spaced, not to scale."
        ),
        verdict=_lead(found),
        reading=tuple(_reading(found)),
    )


def _sets() -> list[tuple[str, str]]:
    return [(width, "") for width in WIDTHS] + [(width, BOTH) for width in WIDTHS_WITH_INIT]


def _table(found: Measured) -> Table:
    rows = []
    for width, suffix in _sets():
        relu, smelu = (found[f"{name}_{width}{suffix}"] for name in TITLES)
        same = (width, suffix) == (STORED, "")
        rows.append(
            (
                width,
                "shuffle, init" if suffix else "shuffle",
                pd(relu.relative_pd),
                pd(smelu.relative_pd),
                "" if same else ratio_cell(smelu.relative_pd, relu.relative_pd),
                difference_cell(smelu.log_loss, relu.log_loss),
            )
        )
    return Table(
        headings=(
            "width",
            "varied",
            "PD of ReLU",
            "PD of SmeLU(1)",
            "SmeLU ÷ ReLU",
            "log loss, SmeLU − ReLU",
        ),
        rows=tuple(rows),
    )


def _draw(found: Measured) -> Figure:
    figure, axes = panels(8.4, 3.8)
    look = looks(list(TITLES))
    for name, title in TITLES.items():
        for suffix, widths in (("", WIDTHS), (BOTH, WIDTHS_WITH_INIT)):
            arms = [found[f"{name}_{width}{suffix}"] for width in widths]
            # Set side by side, so that each interval can be seen.
            shift = 0.08 * list(TITLES).index(name) + (0.18 if suffix else 0)
            x = [WIDTHS.index(width) + shift for width in widths]
            label = f"{title}, init varies too" if suffix else title
            draw_series(
                axes[0],
                x,
                pd_intervals(arms),
                look[name],
                label=label,
                scale=100,
                joined=not suffix,
                hollow=bool(suffix),
            )
            draw_series(
                axes[1],
                x,
                loss_differences(arms, found[MIDDLE]),
                look[name],
                label=label,
                joined=not suffix,
                hollow=bool(suffix),
            )
    for each in axes:
        each.set_xticks(range(len(WIDTHS)), WIDTHS)
    label_panels(axes, "ReLU's at 2000", x="width of the shuffle, examples")
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _reading(found: Measured) -> list[str]:
    return [_stored(found), *(_growth(found, name) for name in TITLES)]


def _stored(found: Measured) -> str:
    stored = [found[f"{name}_{STORED}"].relative_pd for name in TITLES]
    if all(each.mean == 0 for each in stored):
        return (
            "At width 0 with only the shuffle varied, PD is exactly 0 for both: replicas trained "
            "side by side are the same model bit for bit, and nothing leaks from one into another."
        )
    return (
        "At width 0 with only the shuffle varied, nothing but rounding can differ: replicas are "
        "trained side by side as parts of one tensor, and kernels may round its parts differently. "
        f"So it does: PD is {listed([pd(each) for each in stored])} for "
        f"{listed(list(TITLES.values()))}."
    )


def _growth(found: Measured, name: str) -> str:
    narrow, middle, full = (found[f"{name}_{width}"] for width in ("500", "2000", "full"))
    return (
        f"**{TITLES[name]}**: beside width 500, PD at the full shuffle is "
        f"{by_ratio(full.relative_pd, narrow.relative_pd)}, and at 2000 "
        f"{by_ratio(middle.relative_pd, narrow.relative_pd)}. The log loss at the full shuffle is "
        f"{by_difference(full.log_loss, middle.log_loss)} beside width 2000."
    )


def _lead(found: Measured) -> str:
    verdicts = Verdicts()
    for width in WIDTHS:
        if width != STORED:
            relu, smelu = (found[f"{name}_{width}"].relative_pd for name in TITLES)
            verdicts.add(width, intervals.ratio(smelu, relu))
    words = verdicts.words("lower than ReLU's at width", "higher at", "not told apart at")
    return (
        f"{verdicts.for_the_paper()} With only the shuffle varied, SmeLU's PD is {words}. "
        f"{_init(found)}"
    )


def _init(found: Measured) -> str:
    parts = []
    for width in WIDTHS_WITH_INIT:
        relu, smelu = (found[f"{name}_{width}{BOTH}"].relative_pd for name in TITLES)
        parts.append(f"at width {width} it is {by_ratio(smelu, relu)}")
    return f"With the initialisation varied too, beside ReLU's, {'; '.join(parts)}."
