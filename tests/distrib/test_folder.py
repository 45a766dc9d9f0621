"""Folders: the same on this machine and in an object store."""

from __future__ import annotations

import pytest

from distrib.folder import Folder, seen_from


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path) -> Folder:
    if request.param == "local":
        return Folder(str(tmp_path), "within")
    s3 = request.getfixturevalue("s3")
    return Folder(s3.uri(s3.new_bucket(), "some/path"), "within")


def test_what_is_read_is_what_was_written(folder) -> None:
    folder.write("a/b", memoryview(b"first"))
    folder.write("a/b", b"second")

    assert folder.read("a/b") == b"second"


def test_a_file_that_is_not_there_is_not_found(folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("a/b")


def test_its_folders_are_told_in_order(folder) -> None:
    assert folder.folders() == []

    for name in ("b/1", "a/1", "c"):
        folder.write(name, b"")

    assert folder.folders() == ["a", "b"]


def test_its_files_are_told_with_those_of_its_folders(folder) -> None:
    assert folder.files() == []

    for name in ("b", "a/2", "a/1/x"):
        folder.write(name, b"")

    assert folder.files() == ["a/1/x", "a/2", "b"]


def test_files_and_folders_are_deleted_and_need_not_be_there(folder) -> None:
    for name in ("a/1", "a/2", "b"):
        folder.write(name, b"")

    for name in ("a", "b", "c"):
        folder.delete(name)

    assert folder.folders() == []
    with pytest.raises(FileNotFoundError):
        folder.read("b")


def test_a_file_is_whole_or_not_there(tmp_path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a", b"old")

    with pytest.raises(TypeError):
        folder.write("a", "not bytes")

    assert folder.read("a") == b"old"


def test_its_name_has_no_keys_in_it() -> None:
    folder = Folder("s3://key:secret@bucket/path?region=us-east-1&scheme=http", "within")

    assert str(folder) == "s3://bucket/path/within"


@pytest.mark.parametrize("uri", ["s3://K:SEC/RET@b/x?A=SEC RET", "foo://K:S%20EC RET@b/x"])
def test_a_uri_that_is_refused_is_quoted_without_keys(uri) -> None:
    with pytest.raises(ValueError, match=r"://b/x") as refused:
        Folder(uri)

    assert "SEC" not in str(refused.value)
    assert "RET" not in str(refused.value)


def test_a_file_is_there_once_it_is_written(folder) -> None:
    before = folder.has("a/b")
    folder.write("a/b", b"")

    assert (before, folder.has("a/b"), folder.has("a")) == (False, True, False)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://key:secret@bucket/a/b?region=x", "s3://key:secret@bucket/a/trials?region=x"),
        ("file:///a/b/", "file:///a/trials"),
        ("a/b?c", "a/b?c/../trials"),
    ],
)
def test_a_place_is_seen_from_another(place, expected) -> None:
    assert seen_from(place, "../trials") == expected
