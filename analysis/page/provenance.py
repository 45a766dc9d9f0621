"""Where the results come from: code, libraries, machines, data and seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from analysis.page.elements import Absent, Listing, Numbers
from analysis.results import SweepResults, Trial, Trials


def provenance(sweep: SweepResults) -> tuple[Listing | Absent, ...]:
    """Return what the finished trials say of themselves, with how many say it, and their seeds."""
    every = [trial for _, row in _rows(sweep) for trial in row.done]
    if not every:
        return (Absent(title="Provenance", reason="no trial is finished"),)
    return (_facts(every), _seeds(sweep))


def _facts(trials: list[Trial]) -> Listing:
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        for name, value in _told(trial):
            counted[name][value] += 1
    return Listing(
        title="Code, libraries and machines",
        text=f"As the {len(trials)} finished trials tell. Where a line has several values, trials"
        " differ in it.",
        numbers=Numbers(
            headings=("what", "value", "trials"),
            rows=tuple(
                (name, value, str(count))
                for name, values in counted.items()
                for value, count in sorted(values.items())
            ),
        ),
    )


def _told(trial: Trial) -> Iterator[tuple[str, str]]:
    """Yield what a trial tells of its circumstances, its seeds left out, one fact at a time."""
    found = trial.document("provenance.json")
    for name, value in found.items():
        if name == "seeds":
            continue
        if isinstance(value, dict):
            yield from ((_words(f"{name} {key}"), _said(each)) for key, each in value.items())
        else:
            yield _words(name), _said(value)
    if trial.has("config.json"):
        yield "data fingerprint", str(trial.document("config.json").get("data_fingerprint"))


def _seeds(sweep: SweepResults) -> Listing:
    """List each row's seeds by source of irreproducibility."""
    table: dict[str, dict[str, list[Any]]] = {}
    for title, row in _rows(sweep):
        seeds: defaultdict[str, list[Any]] = defaultdict(list)
        for trial in row.done:
            for source, seed in trial.document("provenance.json").get("seeds", {}).items():
                seeds[source].append(seed)
        table[title] = seeds
    sources = list(dict.fromkeys(source for seeds in table.values() for source in seeds))
    varied = ", ".join(sweep.varied) or "nothing"
    return Listing(
        title="Seeds",
        text=f"What differs between the replicas of an arm: {varied}.",
        numbers=Numbers(
            headings=("replicas of", *sources),
            rows=tuple(
                (title, *(_spelled(seeds.get(source, [])) for source in sources))
                for title, seeds in table.items()
            ),
        ),
    )


def _rows(sweep: SweepResults) -> Iterator[tuple[str, Trials]]:
    yield from ((arm.name, arm) for arm in sweep.arms)
    yield from ((f"{sweep.baseline.name}, {row.name} alone", row) for row in sweep.sources)


def _spelled(seeds: list[Any]) -> str:
    return ", ".join(str(seed) for seed in dict.fromkeys(seeds))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _said(value: object) -> str:
    return "none" if value is None else str(value)
