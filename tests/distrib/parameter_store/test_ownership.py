"""Whose a folder is: a living owner's, until it ends or is silent for long."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from distrib.parameter_store import ownership as module
from distrib.parameter_store.ownership import Ownership
from distrib.trials.folder import Folder
from recsys.errors import DataError
from tests.support.patience import wait_until

FILE = "owner.json"


def ownership(place, run: str) -> Ownership:
    return Ownership(Folder(str(place)), run, heartbeat_s=0.05, patience_s=1.0)


def beats(place) -> int:
    return json.loads((place / FILE).read_text())["beats"]


def change_owner(place, **fields: object) -> None:
    path = place / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_living_owner_is_not_taken_over(tmp_path) -> None:
    first = ownership(tmp_path, "first")
    first.claim()

    with pytest.raises(DataError, match=r"found run first \(process \d+ on .*\)"):
        ownership(tmp_path, "second").claim()

    first.check()
    first.release()


def test_a_folder_that_was_let_go_is_free(tmp_path) -> None:
    first, second = ownership(tmp_path, "first"), ownership(tmp_path, "second")
    first.claim()
    first.release()

    second.claim()

    assert json.loads((tmp_path / FILE).read_text())["run"] == "second"
    second.release()
    assert not (tmp_path / FILE).exists()


def test_an_owner_whose_process_ended_is_taken_over_at_once(tmp_path, caplog) -> None:
    claims = (
        "import os; from distrib.parameter_store.ownership import Ownership; "
        "from distrib.trials.folder import Folder; "
        f"Ownership(Folder({str(tmp_path)!r}), 'dead').claim(); "
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", claims], check=False)
    second = Ownership(Folder(str(tmp_path)), "second", patience_s=1e9)

    second.claim()

    assert "taking over from run dead" in caplog.messages[0]
    second.release()


def test_a_silent_owner_elsewhere_is_taken_over_after_a_while(tmp_path) -> None:
    owner = {"run": "far", "host": "far", "machine": "far", "pid": 1, "started": 1, "beats": 8}
    (tmp_path / FILE).write_text(json.dumps(owner))
    second = ownership(tmp_path, "second")

    second.claim()

    second.check()
    second.release()


def test_an_owner_elsewhere_that_beats_is_not_taken_over(tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("distrib.parameter_store.ownership._machine", lambda: "far")
        first = ownership(tmp_path, "first")
    first.claim()

    with pytest.raises(DataError, match="found run first"):
        ownership(tmp_path, "second").claim()

    first.release()


@dataclass
class Pausing:
    """The time on a machine that stands still in the first pause; the owner beats in the next."""

    place: Path
    now: float = 0.0
    pauses: int = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses += 1
        self.now += 1e6 if self.pauses == 1 else seconds
        if self.pauses == 2:
            change_owner(self.place, beats=9)


def test_an_owner_is_not_taken_over_for_that_the_machine_stood_still(tmp_path, monkeypatch) -> None:
    owner = {"run": "far", "host": "far", "machine": "far", "pid": 1, "started": 1, "beats": 8}
    (tmp_path / FILE).write_text(json.dumps(owner))
    monkeypatch.setattr(module, "time", Pausing(tmp_path))

    with pytest.raises(DataError, match="found run far"):
        ownership(tmp_path, "second").claim()


def test_an_owner_that_was_taken_over_learns_it_and_leaves_the_file_alone(tmp_path) -> None:
    first = ownership(tmp_path, "first")
    first.claim()
    while "ownership" in {thread.name for thread in threading.enumerate()}:  # until it learns it
        change_owner(tmp_path, run="second")  # may come between its reading and its writing
        time.sleep(0.05)

    with pytest.raises(DataError, match=r"found that run second .* took it over from run first"):
        first.check()

    first.release()
    assert json.loads((tmp_path / FILE).read_text())["run"] == "second"


def test_an_owner_that_finds_its_file_half_written_goes_on_beating(tmp_path) -> None:
    first = ownership(tmp_path, "first")
    first.claim()
    owner = (tmp_path / FILE).read_text()

    (tmp_path / FILE).write_text(owner[:10])
    time.sleep(0.2)  # some beats
    (tmp_path / FILE).write_text(owner)

    wait_until(lambda: beats(tmp_path) > json.loads(owner)["beats"] + 1)
    first.release()


def test_a_file_that_names_no_owner_is_refused(tmp_path) -> None:
    (tmp_path / FILE).write_text("{")

    with pytest.raises(DataError, match=r"owner.json: not an owner's; delete it if no run"):
        ownership(tmp_path, "first").claim()


class Crowded(Folder):
    """A folder that all who claim it find free, and all have written before one looks again."""

    def __init__(self, place, claimers: Barrier) -> None:
        super().__init__(str(place))
        self._claimers = claimers
        self._meets_after = ["read", "write"]

    def read(self, name: str) -> bytes:
        try:
            return super().read(name)
        finally:
            self._meet("read")

    def write(self, name: str, content: bytes | memoryview) -> None:
        super().write(name, content)
        self._meet("write")

    def _meet(self, what: str) -> None:
        if self._meets_after[:1] == [what]:
            self._meets_after.pop(0)
            self._claimers.wait()


def test_of_two_that_claim_a_free_folder_at_once_one_is_refused(tmp_path) -> None:
    claimers = Barrier(2)
    both = [
        Ownership(Crowded(tmp_path, claimers), run, heartbeat_s=0.2) for run in ("first", "second")
    ]

    with ThreadPoolExecutor(2) as threads:
        refused = [claim.exception() for claim in [threads.submit(each.claim) for each in both]]

    has_it = json.loads((tmp_path / FILE).read_text())["run"]
    (winner,) = (run for run, why in zip(("first", "second"), refused, strict=True) if why is None)
    (why,) = (why for why in refused if why is not None)
    assert winner == has_it
    assert isinstance(why, DataError)
    assert f"found run {winner}" in str(why)
    assert "at the same moment" in str(why)
    for each in both:
        each.release()


class Breaking(Folder):
    """A folder of which the first reads break off."""

    def __init__(self, place) -> None:
        super().__init__(str(place))
        self.left = [OSError("stream broke off"), OSError("again")]

    def read(self, name: str) -> bytes:
        if self.left:
            raise self.left.pop()
        return super().read(name)


def test_a_read_that_breaks_off_as_the_owner_renews_the_file_is_tried_again(tmp_path) -> None:
    first, folder = ownership(str(tmp_path), "first"), Breaking(tmp_path)
    first.claim()

    with pytest.raises(DataError, match="found run first"):
        Ownership(folder, "second", heartbeat_s=0.05, patience_s=1.0).claim()

    assert folder.left == []
    first.release()


def test_it_works_in_an_object_store(s3) -> None:
    place = s3.uri(s3.new_bucket(), "place")
    first = ownership(place, "first")
    first.claim()

    with pytest.raises(DataError, match="found run first"):
        ownership(place, "second").claim()

    first.release()
