"""Relative PD and log loss against the number of passes over the data."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis import intervals
from analysis.figures.style import looks
from analysis.findings.drawing import (
    DODGE,
    draw_series,
    label_panels,
    logarithmic_x,
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
    loss,
    pd,
    ratio_cell,
)

EPOCHS = (1, 2, 4, 8)
FIRST = "relu_1"
TITLES = {"relu": "ReLU", "smelu": "SmeLU(1)"}


def find(found: Measured) -> Finding:
    """Compare ReLU and SmeLU after one and more passes."""
    return Finding(
        title="Epochs: does training longer bring replicas together?",
        question=(
            "The paper's systems see every example once. Do more passes, each with a shuffle of "
            "its own, bring replicas together or drive them apart, and does SmeLU keep its lead?"
        ),
        table=_table(found),
        figure=_draw(found),
        caption="Relative PD, and log loss beside ReLU's after one pass, against the passes.",
        verdict=_lead(found),
        reading=tuple(_reading(found)),
    )


def _table(found: Measured) -> Table:
    rows = []
    for count in EPOCHS:
        relu, smelu = (found[f"{name}_{count}"] for name in TITLES)
        rows.append(
            (
                str(count),
                pd(relu.relative_pd),
                pd(smelu.relative_pd),
                ratio_cell(smelu.relative_pd, relu.relative_pd),
                loss(relu.log_loss),
                loss(smelu.log_loss),
                difference_cell(smelu.log_loss, relu.log_loss),
            )
        )
    return Table(
        headings=(
            "epochs",
            "PD of ReLU",
            "PD of SmeLU(1)",
            "SmeLU ÷ ReLU",
            "log loss of ReLU",
            "log loss of SmeLU(1)",
            "SmeLU − ReLU",
        ),
        rows=tuple(rows),
    )


def _draw(found: Measured) -> Figure:
    figure, axes = panels(7.6, 3.4)
    look = looks(list(TITLES))
    for name, title in TITLES.items():
        arms = [found[f"{name}_{count}"] for count in EPOCHS]
        x = [count * DODGE ** list(TITLES).index(name) for count in EPOCHS]
        draw_series(axes[0], x, pd_intervals(arms), look[name], label=title, scale=100)
        draw_series(axes[1], x, loss_differences(arms, found[FIRST]), look[name], label=title)
    logarithmic_x(axes, EPOCHS, base=2)
    label_panels(axes, "ReLU's after one", x="passes over the training split")
    axes[0].set_ylim(bottom=0)
    axes[0].legend()
    return figure


def _reading(found: Measured) -> list[str]:
    reading = []
    for name, title in TITLES.items():
        first, last = (found[f"{name}_{count}"] for count in (EPOCHS[0], EPOCHS[-1]))
        best = min(EPOCHS, key=lambda count: found[f"{name}_{count}"].log_loss.mean)
        reading.append(
            f"**{title}**: after {EPOCHS[-1]} passes PD is "
            f"{by_ratio(last.relative_pd, first.relative_pd)} beside one pass and the log loss "
            f"{by_difference(last.log_loss, first.log_loss)}; its log loss is lowest after "
            f"{best} {'pass' if best == 1 else 'passes'}."
        )
    return reading


def _lead(found: Measured) -> str:
    verdicts = Verdicts()
    for count in EPOCHS:
        relu, smelu = (found[f"{name}_{count}"].relative_pd for name in TITLES)
        verdicts.add(str(count), intervals.ratio(smelu, relu))
    words = verdicts.words("lower than ReLU's for", "higher for", "not told apart for")
    return f"{verdicts.for_the_paper()} SmeLU's PD by number of passes is {words}."
