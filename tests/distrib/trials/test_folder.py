"""Folders: the same on this machine and in an object store."""

from __future__ import annotations

import pytest

from distrib.trials.folder import Folder, inside, seen_from
from recsys.errors import DataError
from tests.support.names import OUTSIDE


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


@pytest.mark.parametrize("name", [name for name in OUTSIDE if name])
def test_no_name_leads_out_of_a_folder(folder, tmp_path, name) -> None:
    precious = tmp_path / "up"
    precious.write_text("mine")
    uses = [
        folder.has,
        folder.read,
        folder.delete,
        lambda name: folder.write(name, b"theirs"),
        lambda name: folder.download(name, tmp_path / "here"),
    ]

    for use in uses:
        with pytest.raises(DataError, match=r"found the name .* expected one inside the folder"):
            use(name)

    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "key", ["a/../../../home/x/DONE", "a//b", "./a", "a\\b", "a\x1b[2Jb", "../up"]
)
def test_a_key_that_leads_out_of_its_folder_is_refused_where_it_is_listed(s3, key) -> None:
    bucket = s3.new_bucket()
    s3.client().put_object(Bucket=bucket, Key=f"results/{key}", Body=b"")

    with pytest.raises(DataError, match="expected one inside the folder") as refused:
        Folder(s3.uri(bucket, "results")).files()

    assert str(refused.value).isprintable()
    assert str(refused.value).startswith(f"s3://{bucket}/results: found the name")


def test_a_name_that_is_too_long_is_shortened_where_it_is_told(tmp_path) -> None:
    with pytest.raises(DataError) as refused:
        inside(tmp_path, f"../{'x' * 10_000}")

    assert len(str(refused.value)) < 500


def test_a_link_that_leads_out_is_neither_read_nor_written_nor_deleted(tmp_path) -> None:
    precious = tmp_path / "precious"
    (precious / "sub").mkdir(parents=True)
    (precious / "file").write_text("mine")
    folder = Folder((tmp_path / "shared").as_uri())
    folder.write("a", b"")
    for name, target in {
        "folder": precious,
        "file": precious / "file",
        "new": precious / "n",
    }.items():
        (tmp_path / "shared" / name).symlink_to(target)
    uses = [
        lambda: folder.read("file"),
        lambda: folder.read("folder/file"),
        lambda: folder.write("folder/file", b"theirs"),
        lambda: folder.write("new", b"theirs"),
        lambda: folder.delete("folder"),
        lambda: folder.delete("folder/sub"),
        lambda: Folder(str(tmp_path / "shared"), "folder").delete("file"),
        lambda: Folder(str(tmp_path / "shared"), "folder").files(),
        folder.files,
        folder.folders,
    ]

    for use in uses:
        with pytest.raises(DataError, match="found a link that leads out of"):
            use()

    assert (precious / "file").read_text() == "mine"
    assert sorted(path.name for path in precious.iterdir()) == ["file", "sub"]


def test_nothing_is_downloaded_through_a_link(tmp_path) -> None:
    folder = Folder(str(tmp_path / "shared"))
    folder.write("report/a", b"theirs")
    (tmp_path / "precious").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "report").symlink_to(tmp_path / "precious")

    with pytest.raises(DataError, match="found a link that leads out of"):
        folder.download("report/a", tmp_path / "here")

    assert list((tmp_path / "precious").iterdir()) == []


def test_links_within_a_folder_are_listed_but_not_followed_in_circles(tmp_path) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a/b", b"")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "a" / "c").symlink_to(tmp_path / "a" / "b")

    assert folder.files() == ["a/b", "a/c"]


def test_a_folder_may_itself_be_behind_a_link(tmp_path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "large")

    Folder(str(tmp_path / "link")).write("a/b", b"content")

    assert Folder(str(tmp_path / "link")).read("a/b") == b"content"


def test_a_write_that_breaks_off_leaves_no_part(tmp_path) -> None:
    with pytest.raises(TypeError):
        Folder(str(tmp_path)).write("a", "not bytes")

    assert list(tmp_path.iterdir()) == []
