"""Whether the relative PD of two models is as good as that of eight."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter
from numpy.typing import NDArray

from analysis.figures.style import looks
from analysis.findings.drawing import draw_series, panels
from analysis.findings.finding import Finding, Measured, Table
from analysis.findings.replicas import matrix, rightly_ordered, spread
from analysis.findings.words import by_ratio, pd, percent

Floats = NDArray[np.float64]

TITLES = {"relu": "ReLU", "smelu": "SmeLU(1)"}
MODELS = (2, 3, 4, 6, 8, 12)
DRAWS = 4000
#: Two models are enough where they order two arms rightly at least this often.
ENOUGH = 0.95
SEED = 1


def find(found: Measured) -> Finding:
    """Compare the PD of few models with that of many, by how far it scatters."""
    pairs = {
        name: matrix(found[name].relative_pd.values, len(found[name].relative_pd.replicas))
        for name in TITLES
    }
    return Finding(
        title="How many models: is the PD of two as good as that of eight?",
        question=(
            "The paper measures PD between two models. The mean does not depend on how many are "
            f"taken; how far it scatters does. From {len(pairs['relu'])} replicas of each arm: the "
            "PD of every pair, and the standard deviation of the PD of M models from one choice "
            "of models to another, as a share of it."
        ),
        table=_table(pairs),
        figure=_draw(pairs),
        caption=(
            "Left: the PD of every pair of models. Right: the scatter of the PD of M models; the "
            "grey line falls as 1/√M."
        ),
        verdict=_verdict(found, pairs),
        reading=tuple(_reading(found, pairs)),
    )


def _ordered(pairs: dict[str, Floats], models: int) -> float:
    relu, smelu = pairs["relu"], pairs["smelu"]
    lower, higher = (smelu, relu) if smelu.sum() < relu.sum() else (relu, smelu)
    return rightly_ordered(lower, higher, models, draws=DRAWS, seed=SEED)


def _table(pairs: dict[str, Floats]) -> Table:
    return Table(
        headings=(
            "models",
            "scatter of ReLU's PD",
            "scatter of SmeLU(1)'s PD",
            "choices that order the two like all models do",
        ),
        rows=tuple(
            (
                str(models),
                *(percent(spread(pairs[name], models)) for name in TITLES),
                f"{100 * _ordered(pairs, models):.1f} %",
            )
            for models in MODELS
        ),
    )


def _draw(pairs: dict[str, Floats]) -> Figure:
    figure, axes = panels(7.8, 3.4)
    look = looks(list(TITLES))
    values = {name: 100 * square[np.triu_indices(len(square), 1)] for name, square in pairs.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins=40).tolist()
    for (name, title), hatch in zip(TITLES.items(), ("", "////"), strict=True):
        axes[0].hist(
            values[name],
            bins=edges,
            histtype="stepfilled",
            facecolor=(*_pale(look[name].colour), 0.35),
            edgecolor=look[name].colour,
            linewidth=1.1,
            hatch=hatch,
            label=title,
        )
        draw_series(
            axes[1],
            MODELS,
            [spread(pairs[name], models) for models in MODELS],
            look[name],
            label=title,
            scale=100,
        )
    two = max(spread(square, 2).value for square in pairs.values())
    guide = [100 * two * (2 / models) ** 0.5 for models in MODELS]
    axes[1].plot(MODELS, guide, color="#999999", linewidth=0.9, label="falls as 1/√M")
    axes[0].set_xlabel("relative PD of a pair, %")
    axes[0].set_ylabel("pairs")
    axes[0].legend()
    axes[1].set_xscale("log")
    axes[1].xaxis.set_major_locator(FixedLocator(MODELS))
    axes[1].xaxis.set_minor_locator(NullLocator())
    axes[1].xaxis.set_major_formatter(ScalarFormatter())
    axes[1].yaxis.set_minor_formatter(NullFormatter())
    axes[1].set_xlabel("models, M")
    axes[1].set_ylabel("scatter of the PD of M models, %")
    axes[1].set_ylim(bottom=0)
    axes[1].legend()
    return figure


def _pale(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def _verdict(found: Measured, pairs: dict[str, Floats]) -> str:
    ratio = by_ratio(found["smelu"].relative_pd, found["relu"].relative_pd)
    ordered = {models: _ordered(pairs, models) for models in (2, 8)}
    verdict = (
        "**For measuring with two models**: they are enough to order these two arms."
        if ordered[2] >= ENOUGH
        else "**Against measuring with two models**: they do not reliably order these two arms."
    )
    return (
        f"{verdict} SmeLU's PD is {ratio} beside ReLU's over all pairs; a choice of two models of "
        f"each orders them alike in {100 * ordered[2]:.1f} % of {DRAWS} draws, one of eight in "
        f"{100 * ordered[8]:.1f} %."
    )


def _reading(found: Measured, pairs: dict[str, Floats]) -> list[str]:
    return [
        *(_one(found, pairs, name) for name in TITLES),
        "What two models cannot give, however well they agree with eight, is an interval: with one "
        "pair there is no spread between replicas, so that nobody can tell a small difference "
        "between arms from none.",
    ]


def _one(found: Measured, pairs: dict[str, Floats], name: str) -> str:
    values = found[name].relative_pd.values
    low, high = np.percentile(values, (5, 95))
    two, eight = (spread(pairs[name], models) for models in (2, 8))
    return (
        f"**{TITLES[name]}**: PD {pd(found[name].relative_pd)} over {len(values)} pairs; the "
        f"middle nine tenths of the pairs lie between {100 * low:.1f} and {100 * high:.1f} %. The "
        f"PD of two models scatters by {percent(two)} of itself, that of eight by "
        f"{percent(eight)}."
    )
