"""Whose a folder is: a living owner's, until it ends or is silent for long."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import pytest

from distrib.async_engine.ownership import Ownership
from distrib.folder import Folder
from recsys.errors import DataError
from tests.support.dying_in_place import wait_until

FILE = "owner.json"


def ownership(place, run: str) -> Ownership:
    return Ownership(Folder(str(place)), run, beat_s=0.05, patience_s=1.0)


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
        "import os; from distrib.async_engine.ownership import Ownership; "
        f"from distrib.folder import Folder; Ownership(Folder({str(tmp_path)!r}), 'dead').claim(); "
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
        elsewhere.setattr("distrib.async_engine.ownership._machine", lambda: "far")
        first = ownership(tmp_path, "first")
    first.claim()

    with pytest.raises(DataError, match="found run first"):
        ownership(tmp_path, "second").claim()

    first.release()


def test_an_owner_that_was_taken_over_learns_it_and_leaves_the_file_alone(tmp_path) -> None:
    first = ownership(tmp_path, "first")
    first.claim()
    change_owner(tmp_path, run="second")
    time.sleep(0.2)  # some beats

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

    with pytest.raises(DataError, match=r"owner.json: found no owner in it .* delete it if no run"):
        ownership(tmp_path, "first").claim()


class Crowded(Folder):
    """A folder that all who claim it find free before one of them writes."""

    _writing = Lock()

    def __init__(self, place, claimers: Barrier) -> None:
        super().__init__(str(place))
        self._claimers = claimers
        self._has_met = False

    def read(self, name: str) -> bytes:
        try:
            return super().read(name)
        finally:
            if not self._has_met:
                self._has_met = True
                self._claimers.wait()

    def write(self, name: str, content: bytes | memoryview) -> None:
        with self._writing:  # as processes would, of which each has a name of its own for it
            super().write(name, content)


def test_of_two_that_claim_a_free_folder_at_once_one_is_refused(tmp_path) -> None:
    claimers = Barrier(2)
    both = [Ownership(Crowded(tmp_path, claimers), run, beat_s=4.0) for run in ("first", "second")]

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


def test_a_read_that_breaks_off_as_the_owner_renews_the_file_is_tried_again(
    tmp_path, monkeypatch
) -> None:
    first = ownership(str(tmp_path), "first")
    first.claim()
    read, broken = Folder.read, [OSError("stream broke off"), OSError("again")]

    def breaks_off(folder: Folder, name: str) -> bytes:
        if broken:
            raise broken.pop()
        return read(folder, name)

    monkeypatch.setattr(Folder, "read", breaks_off)
    with pytest.raises(DataError, match="found run first"):
        ownership(str(tmp_path), "second").claim()

    assert broken == []
    first.release()


def test_it_works_in_an_object_store(s3) -> None:
    place = s3.uri(s3.new_bucket(), "place")
    first = ownership(place, "first")
    first.claim()

    with pytest.raises(DataError, match="found run first"):
        ownership(place, "second").claim()

    first.release()
