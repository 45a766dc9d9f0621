"""What a pass takes over from a snapshot, and what it refuses to begin without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from distrib.engines.asynchronous import phase_runner as module
from distrib.engines.asynchronous.messages import Servers, Status, TrainingProgress
from distrib.engines.asynchronous.phase_runner import PhaseResult, PhaseRunner, Progress, Training
from distrib.engines.asynchronous.stores import ResumePoint
from distrib.parameter_store.snapshots import Manifest, Snapshot
from distrib.training.windows import Windows
from recsys.engines import AsyncEngine
from recsys.errors import DataError

BEFORE = PhaseResult(seen=TrainingProgress(), train_seconds=7.0, orders=())


class Store:
    """Has nothing to lose."""

    def kept(self) -> None: ...

    def restore(self, start: ResumePoint, shards: Any) -> None: ...

    def arm(self) -> None: ...

    def order(self) -> list[Any]:
        return []


class Pool:
    def drain(self) -> None: ...

    def start(self, phase: int, servers: Servers) -> None: ...

    def reap(self, phase: int, servers: Servers) -> tuple[list[str], bool]:
        return [], False

    def note_progress(self) -> None: ...

    def kill(self, names: tuple[str, ...]) -> None: ...


@dataclass
class Place:
    snapshot: Snapshot | None = None

    def newest(self) -> Snapshot | None:
        return self.snapshot

    def __str__(self) -> str:
        return "place"


@dataclass
class Generations:
    """Stands for ``Generation``: finished after so many seconds."""

    seconds: float
    started_with: list[int] = field(default_factory=list)
    servers: Servers = field(default_factory=lambda: Servers(dispatcher=None))

    def __call__(self, *settings: Any) -> Generations:
        *_, self.start, _, start_with, _ = settings
        self.started_with.append(start_with)
        return self

    def mark_dead(self, workers: list[str]) -> None: ...

    def status(self) -> Status:
        return Status(
            seen=self.start.seen,
            is_finished=True,
            is_at_cut=False,
            leases=self.start.leases,
            silent=(),
            failure=None,
            train_seconds=self.seconds,
        )

    def close(self) -> None: ...


@pytest.fixture
def generations(monkeypatch) -> Generations:
    generations = Generations(seconds=2.0)
    monkeypatch.setattr(module, "ServerGroup", generations)
    return generations


def training(snapshot: Snapshot | None) -> Training:
    parts: dict[str, Any] = {"store": Store(), "pool": Pool(), "snapshots": Place(snapshot)}
    return Training(
        run="run",
        trial="trial",
        engine=AsyncEngine(workers=2, start_with=2),
        windows=Windows(8, 1),
        report_progress=lambda seen: None,
        **parts,
    )


def snapshot(phase: int, *, windows: int, train_seconds: float) -> Snapshot:
    manifest = Manifest(
        format=1,
        made_by={},
        run="before",
        phase=phase,
        windows=windows,
        leases=windows,
        shards=(),
        progress="",
    )
    seen = TrainingProgress(windows=windows, examples=100 * windows)
    progress = Progress(seen=seen, train_seconds=train_seconds, watch=None, passed=())
    return Snapshot(manifest=manifest, shards=(), progress=progress)


def test_the_time_that_a_snapshot_took_counts_as_its_examples_do(generations) -> None:
    saved = snapshot(0, windows=4, train_seconds=30.0)

    passed = PhaseRunner(training(saved), 0, None, ()).run()

    assert passed.seen.examples == 400
    assert passed.train_seconds == 30.0 + generations.seconds


def test_a_first_phase_without_a_snapshot_begins_at_its_beginning(generations) -> None:
    passed = PhaseRunner(training(None), 0, None, ()).run()

    assert (passed.seen.examples, passed.train_seconds) == (0, generations.seconds)


@pytest.mark.parametrize(
    "newest", [None, snapshot(0, windows=4, train_seconds=1.0)], ids=["none", "an older phase's"]
)
def test_a_later_phase_is_not_begun_on_phases_that_only_a_lost_snapshot_had(
    generations, newest
) -> None:
    one_pass = PhaseRunner(training(newest), 1, None, (BEFORE,), is_resumed=True)

    with pytest.raises(DataError, match=r"^place: found no complete snapshot of phase 1, expected"):
        one_pass.run()

    assert generations.started_with == []


def test_a_later_phase_begins_on_phases_that_were_trained_here(generations) -> None:
    passed = PhaseRunner(training(None), 1, None, (BEFORE,)).run()

    assert passed.seen.examples == 0


@pytest.mark.parametrize(
    ("newest", "passed", "expected"),
    [
        (None, (), 2),
        (snapshot(0, windows=4, train_seconds=1.0), (), 1),
        (None, (BEFORE,), 1),
    ],
    ids=["at the beginning", "from a snapshot", "in a later phase"],
)
def test_workers_wait_for_each_other_before_the_first_window_alone(
    generations, newest, passed, expected
) -> None:
    PhaseRunner(training(newest), len(passed), None, passed).run()

    assert generations.started_with == [expected]
