"""The page holds what the results say, and says of what they lack why it is not there."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape

import pytest

from analysis.figures.figure import Absent, Figure
from analysis.figures.render import THEMES
from analysis.report.document import FIGURES, arms_of, figures, render, sections, spent, write_page
from analysis.report.tradeoff_table import COLUMNS, rows
from analysis.results.reading import read_sweep
from analysis.results.spending import Prices, Spending, Spent, write_spending
from analysis.results.summary import summarize
from analysis.tradeoff import table_of
from analysis.verdict.replacement import Margins
from analysis.verdict.verdict import verdicts
from tests.support.results import ARMS, SyntheticArm, write_everything, write_sweep
from tests.support.studies import beta_arms, beta_design


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return summarize(read_sweep(write_everything(tmp_path_factory.mktemp("sweep"))))


def rendered(summary) -> str:
    found = verdicts(summary, Margins())
    return render(summary, sections(summary, arms_of(found, summary)), found, Margins())


@pytest.fixture(scope="module")
def page(summary) -> str:
    return rendered(summary)


@pytest.fixture(scope="module")
def charts(summary) -> dict[str, Figure]:
    return {each.name: each for each in figures(sections(summary, {"relu"}))}


def data(page: str) -> dict:
    """Return what the page gives to its script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def marks(figure: Figure) -> list[dict]:
    """Return the rows of a figure's chart."""
    return figure.chart.to_dict()["data"]["values"]


def absent(summary) -> dict[str, str]:
    parts = [part for section in sections(summary, {"relu"}) for part in section.parts]
    return {part.title: part.reason for part in parts if isinstance(part, Absent)}


def test_a_sweep_that_has_everything_has_every_chart(charts, summary):
    assert tuple(charts) == FIGURES
    assert list(charts) == [
        "study",
        "pd_accuracy",
        "pd_lookups",
        "pd_source",
        "pd_slice_0",
        "pd_slice_1",
        "pd_slice_2",
        "pd_progress",
        "eval_log_loss",
        "progressive_log_loss",
        "calibration",
        "staleness",
    ]
    assert absent(summary) == {}


def test_a_study_is_the_first_section_with_its_curve_table_and_reading(tmp_path):
    write_sweep(tmp_path, beta_arms(), study=beta_design())

    summary = summarize(read_sweep(tmp_path))
    page = rendered(summary)

    assert sections(summary)[0].title == "Study"
    assert "study" in data(page)["charts"]
    assert "Is smoother better?" in page
    assert "after Holm" in page
    assert "smelu_0_5" in page


def test_the_page_declares_the_colours_of_both_themes_and_charts_refer_to_them(page):
    for theme in THEMES.values():
        for name, colour in theme.variables.items():
            assert f"--{name}: {colour};" in page
    found = data(page)
    assert found["config"]["range"]["category"][1] == "var(--series-1)"
    assert "#" not in json.dumps(found)


def test_the_page_loads_nothing_and_holds_vega_once(page):
    without_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)

    assert page.count("window.vegaEmbed=") == 1
    assert not re.findall(r"<(?:link|iframe|img|script)[^>]*(?:src|href)=", without_scripts)
    assert "http" not in without_scripts.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert "unsafe-eval" not in page


def test_the_page_is_smaller_than_2_mb(page):
    assert len(page.encode()) < 2_000_000


def test_the_page_says_how_many_arms_are_not_compared_and_why(page, tmp_path):
    stale = SyntheticArm(name="stale", noise=0.1, activation="smelu", beta=1.0, workers=16)
    found = rendered(summarize(read_sweep(write_sweep(tmp_path, (*ARMS, stale)))))

    words = "1 arm was trained under other conditions than the baseline"
    assert words in found
    assert "other conditions" not in page


def test_the_verdict_comes_first_and_the_other_incumbents_follow(page):
    heading = re.search(r"<h1[^>]*>(.*?)</h1>", page, flags=re.DOTALL)

    assert heading is not None
    assert "the 3-component ReLU ensemble" in unescape(heading[1])
    assert "Compared with 1 other models" not in page
    assert "Compared with 1 other model in this sweep" in page


def test_every_column_of_the_table_and_every_arm_is_shown_with_its_value(summary):
    shown, table = rows(summary), table_of(summary)
    columns = [column.name for column in COLUMNS]

    assert set(columns) == {name for name in table.columns if not name.endswith(("_low", "_high"))}
    for row, (_, expected) in zip(shown, table.iterrows(), strict=True):
        for name, cell in zip(columns, row.cells, strict=True):
            value = expected[name]
            key = value.lower() if isinstance(value, str) else value
            assert cell.key == ("" if key != key else key)


def test_what_is_better_or_worse_than_the_baseline_is_marked_as_the_comparison_says(tmp_path):
    arms = (
        SyntheticArm(name="relu", noise=0.6),
        SyntheticArm(name="quiet", noise=0.1),
        SyntheticArm(name="loud", noise=1.5),
        SyntheticArm(name="alike", noise=0.6),
    )
    found = rows(summarize(read_sweep(write_sweep(tmp_path, arms))))
    column = [column.name for column in COLUMNS].index("relative_pd_vs_baseline")

    assert [row.cells[column].mark for row in found] == ["", "better", "worse", "open"]
    assert [row.is_baseline for row in found] == [True, False, False, False]
    assert found[0].cells[column].text == "baseline"


def test_what_cannot_be_shown_is_named_with_the_reason(tmp_path):
    arms = (SyntheticArm(name="relu", noise=0.5, replicas=1),)
    found = absent(summarize(read_sweep(write_sweep(tmp_path, arms))))

    assert found == {
        "Prediction difference and accuracy": "fewer than two arms have two finished replicas",
        "Prediction difference and cost of serving": (
            "fewer than two arms have two finished replicas"
        ),
        "Prediction difference by source of irreproducibility": (
            "no single source was measured; the experiment's field sources: [init, shuffle, async,"
            " components, arithmetic] names those to measure"
        ),
        "By slices": "no arm has two finished replicas",
        "Prediction difference during training": (
            "no arm has two finished replicas with predictions during training"
        ),
        "Staleness": (
            "no arm was trained by an asynchronous engine; other engines have no staleness"
        ),
    }


def test_a_sweep_of_which_nothing_is_finished_has_a_page(tmp_path):
    arms = (SyntheticArm(name="relu", noise=0.5, unfinished=(0, 1, 2, 3)),)
    page = rendered(summarize(read_sweep(write_sweep(tmp_path, arms))))

    assert "This sweep has no single SmeLU model to replace ReLU." in page
    assert "Missing trials: relu 4 of 4." in page
    assert page.count("Not shown: no trial is finished.") == 4


@pytest.mark.parametrize("name", ["</script><b>bold", "<!--<script>", "a & \"b\" 'c'"])
def test_a_name_cannot_change_the_page(tmp_path, name):
    sweep = read_sweep(write_sweep(tmp_path))
    arms = (sweep.baseline, replace(sweep.arms[1], name=name))
    page = rendered(summarize(replace(sweep, arms=arms, experiment=name)))

    assert name not in page
    assert name in [unescape(each) for each in re.findall(r'name="arm" value="([^"]*)"', page)]
    assert f"Soloist report · {name}" in unescape(page)
    assert name in {row["arm"] for row in data(page)["charts"]["eval_log_loss"]["data"]["values"]}
    assert page.count("<script") == page.count("</script>") == 3


def test_staleness_is_the_share_of_pushes(charts):
    drawn = [(each["x"], each["y"]) for each in marks(charts["staleness"])]

    assert drawn == [(0, 60.0), (1, 30.0), (2, 10.0)]
    assert charts["staleness"].numbers[1] == ("stale", "0", "60.00%", "240", "0.50")


def test_learning_curves_are_means_over_replicas(charts):
    drawn = [each for each in marks(charts["eval_log_loss"]) if each["arm"] == "relu"]

    assert [each["x"] for each in drawn] == [500, 1000, 2000]
    assert [each["y"] for each in drawn] == pytest.approx(
        [0.68, 0.65, 0.63 + 0.01 * (0 + 1 + 2 + 3) / 4]
    )


def test_the_arms_that_the_verdict_speaks_of_are_chosen_at_first(page):
    boxes = re.findall(r'<input type="checkbox" name="arm" value="(\w+)"( checked)?>', page)

    assert [name for name, checked in boxes if checked] == ["relu", "smelu_1", "relu_ensemble"]
    assert [name for name, _ in boxes] == [*(arm.name for arm in ARMS), "stale"]


def test_sources_of_irreproducibility_name_those_that_were_not_measured(charts):
    chart = charts["pd_source"]

    assert chart.text.endswith("Not measured here: init, shuffle, async, components.")
    assert [row[0] for row in chart.numbers[1:]] == [
        "as in the table (shuffle)",
        "arithmetic alone",
    ]


def test_provenance_counts_the_trials_that_say_the_same(summary):
    (section,) = (each for each in sections(summary, set()) if each.identifier == "provenance")
    facts, seeds = ({row[0]: row[1:] for row in part.numbers[1:]} for part in section.parts)

    assert facts["machine processor"] == ("synthetic", "28")
    assert facts["libraries torch"] == ("0.0.0", "28")
    assert seeds["relu"] == ("1", "1, 2, 3, 4")
    assert seeds["relu, arithmetic alone"] == ("1", "1, 2, 3, 4")


def test_the_cost_of_the_sweep_stands_beside_its_estimate_and_in_money_where_it_has_prices(
    summary, tmp_path
):
    estimate = Spent(
        arm="relu",
        trials=4,
        lookups=5600.0,
        core_hours=0.5,
        gpu_hours=0.0,
        money=1.0,
        basis="a probe of 24 batches",
    )
    prices = Prices(per_core_hour=2.0, currency="EUR")
    spending = Spending(prices=prices, estimated=(estimate,), actual=())
    write_spending(tmp_path, spending)

    unpriced = spent(summary.sweep).numbers
    priced = spent(replace(summary.sweep, directory=tmp_path)).numbers

    assert unpriced[0][:5] == ("arm", "trials", "lookups", "core-hours", "GPU-hours")
    assert "EUR" not in unpriced[0]
    assert priced[0][5:] == ("EUR", "estimated core-hours", "estimate from")
    assert priced[1][-2:] == ("0.5", "a probe of 24 batches")
    assert [row[0] for row in priced[1:]][-2:] == ["relu (arithmetic alone)", "all"]


def test_the_page_is_written_whole_below_its_name(summary, tmp_path):
    found = verdicts(summary, Margins())
    path = write_page(summary, sections(summary), found, Margins(), tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_no_two_elements_of_the_page_share_an_identifier(page):
    found = re.findall(r'\sid="([^"]*)"', page)

    assert sorted(set(found)) == sorted(found)
