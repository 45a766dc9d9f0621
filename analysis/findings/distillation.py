"""One model served, or nearly: self-ensembles, students of an ensemble, models that co-distil."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import intervals
from analysis.errors import ResultsError
from analysis.figures.style import looks
from analysis.findings.drawing import panels
from analysis.findings.finding import Finding, Measured, Table
from analysis.findings.words import (
    Verdicts,
    beside,
    by_difference,
    by_ratio,
)
from analysis.results import ArmResults

RELU, SMELU = "relu", "smelu"
TITLES = {
    "relu": "ReLU",
    "smelu": "SmeLU(1)",
    "relu_ensemble": "ensemble of 3",
    "self_component": "self-ensemble (component losses)",
    "self_mean": "self-ensemble (loss of the mean)",
    "self_mean_distil": "self-ensemble (towards the mean)",
    "online": "distilled (online, one head)",
    "online_two_heads": "distilled (online, two heads)",
    "offline": "distilled (offline, one head)",
    "offline_two_heads": "distilled (offline, two heads)",
    "codistilled": "codistilled (2 models)",
}
#: What an arm is compared with to see the effect of one choice.
CHOICES = (
    ("self_mean", "self_component", "Loss of the mean instead of component losses"),
    ("self_mean_distil", "self_component", "Component losses and a pull towards the mean"),
    ("online_two_heads", "online", "Two heads instead of one, teacher online"),
    ("offline_two_heads", "offline", "Two heads instead of one, teacher offline"),
    ("offline", "online", "Teacher offline instead of online"),
)


def find(found: Measured) -> Finding:
    """Compare every way to serve one model, or one set of tables, with ReLU and with SmeLU."""
    return Finding(
        title="Distillation and self-ensembles: one model served, some other way",
        question=(
            "Other ways to a lower PD that serve the lookups of one model: three ReLU towers on "
            "one set of tables, under three losses; a ReLU student of an ensemble of three, with "
            "one head for label and teacher or one for each, its teacher trained beside it or "
            "before it; two models that learn from each other. Are they as good as one SmeLU?"
        ),
        table=_table(found),
        figure=_draw(found),
        caption="Relative PD and log loss, each beside ReLU's; dashed: no difference.",
        verdict=_beside_smelu(found),
        reading=tuple(_reading(found)),
    )


def _lookups(arm: ArmResults, column: str) -> str:
    if column not in arm.cost:
        raise ResultsError(f"{arm.done[0].directory / 'cost.json'}: has no {column}")
    return f"{arm.cost[column].mean():.0f}"


def _table(found: Measured) -> Table:
    relu = found[RELU]
    rows = []
    for name, title in TITLES.items():
        rows.append(
            (
                title,
                *beside(found[name], relu),
                _lookups(found.arms[name], "train_lookups"),
                _lookups(found.arms[name], "serve_lookups"),
            )
        )
    return Table(
        headings=(
            "arm",
            "relative PD",
            "÷ ReLU",
            "log loss",
            "− ReLU",
            "lookups to train",
            "lookups to serve",
        ),
        rows=tuple(rows),
    )


def _draw(found: Measured) -> Figure:
    figure, axes = panels(8.4, 3.6)
    names = [name for name in TITLES if name != RELU]
    look = looks([found.arms[name].kind for name in TITLES])
    relu = found[RELU]
    for place, name in enumerate(names):
        arm, each = found[name], look[found.arms[name].kind]
        ratio = intervals.ratio(arm.relative_pd, relu.relative_pd).interval
        difference = intervals.difference(arm.log_loss, relu.log_loss).interval
        for panel, found_here in zip(axes, (ratio, difference), strict=True):
            panel.errorbar(
                found_here.value,
                place,
                xerr=[
                    [found_here.value - found_here.low],
                    [found_here.high - found_here.value],
                ],
                fmt=each.marker,
                color=each.colour,
                markersize=5,
                elinewidth=0.8,
                capsize=2,
            )
    axes[0].set_yticks(range(len(names)), [TITLES[name] for name in names])
    axes[1].set_yticks(range(len(names)), [""] * len(names))
    for panel, none, label in zip(
        axes, (1.0, 0.0), ("relative PD ÷ ReLU's", "log loss − ReLU's, nats"), strict=True
    ):
        panel.axvline(none, color="#777777", linestyle="--", linewidth=0.9)
        panel.invert_yaxis()
        panel.set_xlabel(label)
        panel.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def _reading(found: Measured) -> list[str]:
    return [_beside_relu(found), *_choices(found)]


def _beside_relu(found: Measured) -> str:
    verdicts = Verdicts()
    for name, title in TITLES.items():
        if name not in (RELU, SMELU):
            verdicts.add(title, intervals.ratio(found[name].relative_pd, found[RELU].relative_pd))
    words = verdicts.words("lower than ReLU's for", "higher for", "not told apart for")
    return f"PD is {words}."


def _beside_smelu(found: Measured) -> str:
    smelu = found[SMELU]
    rivals = [
        name
        for name, arm in found.arms.items()
        if name not in (RELU, SMELU)
        and _lookups(arm, "serve_lookups") == _lookups(found.arms[SMELU], "serve_lookups")
    ]
    verdicts = Verdicts()
    for name in rivals:
        verdicts.add(TITLES[name], intervals.ratio(smelu.relative_pd, found[name].relative_pd))
    best = min(rivals, key=lambda name: found[name].relative_pd.mean)
    words = verdicts.words(
        "lower than that of", "higher than that of", "not told apart from that of"
    )
    return (
        f"{verdicts.for_the_paper()} Among arms that serve as few lookups, SmeLU(1)'s PD is "
        f"{words}. The lowest PD measured among them, chosen after the fact on the same test "
        f"examples so that its intervals are optimistic, is that of {TITLES[best]}: "
        f"{by_ratio(found[best].relative_pd, smelu.relative_pd)} beside SmeLU's, with a log loss "
        f"{by_difference(found[best].log_loss, smelu.log_loss)}. SmeLU's own PD is "
        f"{by_ratio(smelu.relative_pd, found[RELU].relative_pd)} beside ReLU's."
    )


def _choices(found: Measured) -> list[str]:
    return [
        f"{words}: PD {by_ratio(found[arm].relative_pd, found[beside].relative_pd)}, log loss "
        f"{by_difference(found[arm].log_loss, found[beside].log_loss)}."
        for arm, beside, words in CHOICES
    ]
