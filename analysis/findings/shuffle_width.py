"""Relative PD against the width of the shuffle's window."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis import intervals
from analysis.figures.style import looks
from analysis.findings.drawing import (
    LOSS_LABEL,
    PD_LABEL,
    draw_series,
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
            "lead? At width 0 nothing is left to vary, so PD must be exactly 0; to measure the "
            "stored order at all, the second set varies the initialisation beside the shuffle."
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
    for each, label in zip(axes, (PD_LABEL, LOSS_LABEL.format("ReLU's at 2000")), strict=True):
        each.set_xticks(range(len(WIDTHS)), WIDTHS)
        each.set_xlabel("width of the shuffle, examples")
        each.set_ylabel(label)
    axes[0].set_ylim(bottom=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _reading(found: Measured) -> list[str]:
    return [_stored(found), *(_growth(found, name) for name in TITLES), _init(found)]


def _stored(found: Measured) -> str:
    exact = all(found[f"{name}_{STORED}"].relative_pd.mean == 0 for name in TITLES)
    return (
        "At width 0 with only the shuffle varied, PD is exactly 0 for both: replicas trained side "
        "by side are the same model bit for bit, and nothing leaks from one into another."
        if exact
        else "**A fault of the instrument**: at width 0 PD should be exactly 0, and it is not."
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
    if not verdicts.higher and not verdicts.open:
        verdict = "**For the paper** at every width."
    elif verdicts.higher:
        verdict = "**Against the paper** at some widths."
    elif verdicts.lower:
        verdict = "**For the paper** at some widths, undecided at the others."
    else:
        verdict = "**Undecided** at every width."
    return (
        f"{verdict} With only the shuffle varied, SmeLU's PD is "
        f"{verdicts.words('lower than ReLU’s at width', 'higher at', 'not told apart at')}."
    )


def _init(found: Measured) -> str:
    parts = []
    for width in WIDTHS_WITH_INIT:
        relu, smelu = (found[f"{name}_{width}{BOTH}"].relative_pd for name in TITLES)
        parts.append(f"at width {width} SmeLU's PD is {by_ratio(smelu, relu)}")
    return f"With the initialisation varied too: {'; '.join(parts)} beside ReLU's."
