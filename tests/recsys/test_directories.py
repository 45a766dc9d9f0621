"""Directories where links, mount points and other users may be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.errors import ConfigError, DataError
from recsys.files import make_private, remove, replaceable


@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_replaced_is_the_directory_behind_a_link(tmp_path, is_there):
    if is_there:
        (tmp_path / "large").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "large")

    assert replaceable(tmp_path / "link") == tmp_path / "large"


def test_a_mount_point_cannot_be_replaced():
    with pytest.raises(DataError, match=r"^/proc: found a mount point, which cannot be replaced"):
        replaceable(Path("/proc"))


@pytest.mark.parametrize("output", [".", "..", "inner/..", "/"])
def test_the_working_directory_and_those_above_it_cannot_be_replaced(tmp_path, monkeypatch, output):
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataError, match="found the working directory, or one above it"):
        replaceable(Path(output))


def test_where_only_owners_may_rename_another_users_directory_cannot_be_replaced(
    tmp_path, monkeypatch
):
    (tmp_path / "log").mkdir()
    tmp_path.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: 2**31)

    with pytest.raises(DataError, match="found another user's directory"):
        replaceable(tmp_path / "log")


def test_a_private_directory_is_this_users_alone_and_is_found_again(tmp_path):
    for _ in range(2):
        make_private(tmp_path / "ranks")

    assert (tmp_path / "ranks").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("planted", ["link", "open"])
def test_a_directory_that_others_planted_is_not_private(tmp_path, planted):
    (tmp_path / "theirs").mkdir(mode=0o700)
    place = tmp_path / "ranks"
    if planted == "link":
        place.symlink_to(tmp_path / "theirs")
    else:
        place.mkdir()
        place.chmod(0o770)

    with pytest.raises(ConfigError, match="expected a private directory"):
        make_private(place)


def test_of_a_link_nothing_is_removed_but_itself(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "folder").mkdir()
    for link in (tmp_path / "link", tmp_path / "folder" / "link"):
        link.symlink_to(tmp_path / "precious")

    for each in ("link", "folder", "absent"):
        remove(tmp_path / each)

    assert [path.name for path in tmp_path.rglob("*")] == ["precious", "file"]
