"""Files and directories that appear whole: nothing that was there before is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.atomic_files import whole_directory


def test_what_cannot_be_kept_in_its_place_is_not_deleted(tmp_path, monkeypatch):
    place = tmp_path / "report"
    place.mkdir()
    for name in ("first", "second"):
        (place / name).write_text("mine")
    rename = Path.rename

    def refuse_files(path: Path, target: Path) -> Path:
        if path.is_file():
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_files)

    with pytest.raises(PermissionError), whole_directory(place) as made:
        (made / "page").write_text("new")

    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == [
        "first",
        "page",
        "second",
    ]


def test_a_directory_keeps_who_may_look_into_it(tmp_path):
    place = tmp_path / "report"
    place.mkdir(mode=0o700)

    with whole_directory(place) as made:
        (made / "page").write_text("new")

    assert place.stat().st_mode & 0o777 == 0o700
