"""What damping changed is told of twins alone, and not known where nothing was damped."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from analysis.errors import ResultsError
from analysis.report.document import render
from analysis.results.reading import ArmResults, read_sweep
from analysis.results.summary import measure, summarize
from analysis.results.tables import as_markdown, page
from analysis.statistics import intervals
from analysis.verdict.damping import Trained, never_damped, read_trained, twins
from analysis.verdict.replacement import Margins
from analysis.verdict.verdict import verdicts
from tests.support.results import SyntheticArm, write_sweep

UNKNOWN = "No damped arm was trained, so it is unknown whether delta_scale is needed for"


def stale(name: str, scale: float, noise: float = 0.5, wrong: float = 0.3) -> SyntheticArm:
    engine = {"name": "async", "store": "server", "workers": 16, "delta_scale": scale}
    return SyntheticArm(name=name, noise=noise, wrong=wrong, engine=engine)


def with_engine(arm: SyntheticArm, **fields: object) -> SyntheticArm:
    return replace(arm, engine={**arm.engine, **fields})


WHOLE = stale("whole", 1.0, noise=0.9, wrong=1.0)
DAMPED = stale("damped", 0.3, noise=0.2, wrong=0.0)


def trained(name: str, scale: float, **changes: object) -> Trained:
    arm = ArmResults(
        name=name,
        places=(),
        done=(),
        kind="single",
        model="mlp",
        activation="relu",
        beta=float("nan"),
        components=1,
    )
    known = Trained(arm=arm, scale=scale, alike="relu", seeds={0: 1, 1: 2}, is_stale=True)
    return replace(known, **changes)


def paired(*arms: Trained) -> list[tuple[str, str]]:
    return [(each.damped.name, each.beside.name) for each in twins(arms)]


def notes(directory: Path, *arms: SyntheticArm) -> list[str]:
    sweep = read_sweep(write_sweep(directory, arms, baseline=arms[0].name))
    shown = as_markdown(page(summarize(sweep)))
    return [line for line in shown.splitlines() if line.startswith(("- Damping", "- No damped"))]


def test_a_damped_arm_stands_beside_the_least_damped_that_is_the_same_otherwise():
    arms = (trained("a", 0.1), trained("b", 1.0), trained("c", 0.3))

    assert paired(*arms) == [("a", "b"), ("c", "b")]
    assert never_damped(arms) == []


@pytest.mark.parametrize(
    "other",
    [
        trained("other", 0.3, alike="smelu"),
        trained("other", 1.0),
        trained("other", 0.3, seeds={0: 1, 1: 3}),
    ],
    ids=["another recipe", "the same scale", "another seed"],
)
def test_an_arm_that_differs_in_more_or_in_nothing_is_no_twin(other):
    arms = (trained("whole", 1.0), other)

    assert paired(*arms) == []
    assert "whole" in [arm.name for arm in never_damped(arms)]


def test_twins_with_more_replicas_are_twins():
    assert paired(trained("whole", 1.0), trained("damped", 0.3, seeds={1: 2, 7: 8}))


def test_only_several_workers_of_whole_changes_may_need_damping():
    arms = (trained("alone", 1.0, is_stale=False), trained("damped", 0.3, alike="smelu"))

    assert never_damped(arms) == []


def test_an_engine_that_cannot_damp_is_left_out(tmp_path):
    arms = (
        SyntheticArm(name="relu", noise=0.5),
        with_engine(replace(WHOLE, name="in_place"), store="shared_memory"),
        SyntheticArm(name="local", noise=0.5, engine={"name": "local"}),
        WHOLE,
    )

    found = read_trained(read_sweep(write_sweep(tmp_path, arms)).arms)

    assert [(each.arm.name, each.scale, each.is_stale) for each in found] == [("whole", 1.0, True)]


def test_a_damaged_configuration_is_refused_by_its_path(tmp_path):
    write_sweep(tmp_path, (WHOLE,), baseline="whole")
    (tmp_path / "trials/whole0/config.json").write_text("{}")

    with pytest.raises(ResultsError, match=r"whole0/config\.json: recipe: found nothing"):
        read_trained(read_sweep(tmp_path).arms)


def test_the_comparison_is_that_of_the_twins_predictions(tmp_path):
    write_sweep(tmp_path, (DAMPED, WHOLE), baseline="damped")
    summary = summarize(read_sweep(tmp_path))

    (found,) = summary.damping

    damped, whole = (measure(arm) for arm in summary.sweep.arms)
    assert found.log_loss == intervals.difference(damped.log_loss, whole.log_loss)
    assert found.relative_pd == intervals.ratio(damped.relative_pd, whole.relative_pd)


@pytest.mark.parametrize(
    ("damped", "loss", "meaning"),
    [
        (DAMPED, "lower (", "Damping is needed here."),
        (stale("damped", 0.3, noise=0.9, wrong=1.0), "not significantly different (difference", ""),
        (stale("damped", 0.3, noise=0.9, wrong=3.0), "higher (", "Damping reduces accuracy here."),
    ],
    ids=["lower", "open", "higher"],
)
def test_a_pair_is_told_with_intervals_and_what_the_log_loss_means(tmp_path, damped, loss, meaning):
    (line,) = notes(tmp_path, WHOLE, damped)

    said, of_pd = line.split(", PD ")
    assert said.startswith("- Damping, damped (delta_scale 0.3) beside whole (1): log loss ")
    assert loss in said
    assert of_pd.endswith(f". {meaning}".rstrip())


def test_lower_pd_is_told_in_percent(tmp_path):
    (line,) = notes(tmp_path, WHOLE, DAMPED)

    assert " % lower (" in line.split(", PD ")[1]


def test_where_nothing_was_damped_the_need_is_said_to_be_unknown(tmp_path):
    other = with_engine(replace(WHOLE, name="other"), workers=4)

    assert notes(tmp_path, WHOLE, other) == [f"- {UNKNOWN} whole, other."]


def test_one_worker_and_engines_without_staleness_are_no_cause_for_a_note(tmp_path):
    alone = with_engine(WHOLE, workers=1)
    local = SyntheticArm(name="local", noise=0.5, engine={"name": "local"})

    assert notes(tmp_path, alone, local) == []


def test_a_single_replica_leaves_pd_unknown_with_its_reason(tmp_path):
    (line,) = notes(tmp_path, replace(WHOLE, replicas=1), replace(DAMPED, replicas=1))

    assert "PD not known, needs at least two replicas" in line


def test_the_page_tells_the_same(tmp_path):
    other = with_engine(replace(WHOLE, name="other"), workers=4)
    write_sweep(tmp_path, (WHOLE, DAMPED, other), baseline="whole")
    summary = summarize(read_sweep(tmp_path))

    shown = unescape(render(summary, (), verdicts(summary, Margins()), Margins()))

    told = [note for note in page(summary).notes if note.startswith(("Damping", "No damped"))]
    assert len(told) == 2
    assert all(f"<li>{note}</li>" in shown for note in told)
