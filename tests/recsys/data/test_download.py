from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from recsys.data import download
from recsys.data.download import DATA_SETS, Archive, DataSet, Wheel, find_data_set, obtain
from recsys.errors import DataError
from tests.support.web import archive, closed_site, silent_site, site, write_wheel

ARCHIVE = archive({"ml/u.data": "1\t2\t3\t4\n", "ml/u.item": "2|x\n"})


def data_set(url, mirror=None):
    sha256 = hashlib.sha256(ARCHIVE).hexdigest()
    expected = Archive(size=len(ARCHIVE), sha256=sha256, folder="ml")
    return DataSet(
        name="films", page="https://…", terms="be kind", url=url, archive=expected, mirror=mirror
    )


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A machine may stand still for seconds, and so may what serves these tests."""
    monkeypatch.setattr(download, "_TIMEOUT_S", 120.0)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Let pip find a package that holds the data, in a folder and nowhere else."""
    folder = tmp_path / "packages"
    folder.mkdir()
    files = {"soloist_test_films/data/films.inter": "rows", "soloist_test_films/other.py": ""}
    sha256 = write_wheel(folder, "soloist_test_films", files)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return Wheel(
        requirement="soloist_test_films==1.0",
        size=(folder / "soloist_test_films-1.0-py3-none-any.whl").stat().st_size,
        sha256=sha256,
        folder="soloist_test_films/data",
    )


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_data_set_is_downloaded_and_unpacked(tmp_path):
    with site(ARCHIVE) as url:
        place = obtain(data_set(url), tmp_path / "cache", print)

    assert place == tmp_path / "cache" / "films"
    assert (place / "u.data").read_text() == "1\t2\t3\t4\n"
    assert names_in(place) == ["u.data", "u.item"]
    assert names_in(tmp_path / "cache") == ["films", "films.zip"]


def test_its_terms_are_told(tmp_path):
    said = []

    with site(ARCHIVE) as url:
        obtain(data_set(url), tmp_path, said.append)

    assert said == [f"films: downloading {url} (be kind)"]


def test_what_is_in_the_cache_is_not_downloaded_again(tmp_path):
    with site(ARCHIVE) as url:
        obtain(data_set(url), tmp_path, print)

    with closed_site() as url:
        place = obtain(data_set(url), tmp_path, print)

    assert names_in(place) == ["u.data", "u.item"]


def test_a_file_changed_in_the_cache_is_written_anew_from_the_archive(tmp_path):
    with site(ARCHIVE) as url:
        place = obtain(data_set(url), tmp_path, print)
    (place / "u.data").write_text("9\t9\t9\t9\n")

    with closed_site() as url:
        obtain(data_set(url), tmp_path, print)

    assert (place / "u.data").read_text() == "1\t2\t3\t4\n"


def test_an_archive_damaged_in_the_cache_is_downloaded_again(tmp_path):
    said = []
    with site(ARCHIVE) as url:
        obtain(data_set(url), tmp_path, print)
        (tmp_path / "films.zip").write_bytes(ARCHIVE[:-1])

        place = obtain(data_set(url), tmp_path, said.append)

    assert said[0] == f"films: {tmp_path / 'films.zip'} is damaged"
    assert (tmp_path / "films.zip").read_bytes() == ARCHIVE
    assert names_in(place) == ["u.data", "u.item"]


def test_only_files_right_in_the_folder_are_unpacked(tmp_path):
    packed = archive({"ml/u.data": "good", "ml/../../evil": "", "ml/sub/x": "", "/etc/evil": ""})
    expected = Archive(size=len(packed), sha256=hashlib.sha256(packed).hexdigest(), folder="ml")

    with site(packed) as url:
        place = obtain(
            DataSet(name="films", page="", terms="", url=url, archive=expected), tmp_path, print
        )

    assert names_in(place) == ["u.data"]
    assert names_in(tmp_path) == ["films", "films.zip"]


def test_another_content_than_published_is_refused_and_not_kept(tmp_path, mirror):
    other = ARCHIVE.replace(b"2|x", b"3|x")

    with site(other) as url, pytest.raises(DataError, match=r"its SHA-256 is .*, expected"):
        obtain(data_set(url, mirror=mirror), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


@pytest.mark.parametrize("announce", [len(ARCHIVE), 10**12])
def test_a_download_larger_than_expected_is_cut_short(tmp_path, mirror, announce):
    with (
        site(ARCHIVE + b"x" * 10, announce=max(announce, len(ARCHIVE) + 10)) as url,
        pytest.raises(DataError, match=rf"has more than the {len(ARCHIVE)} bytes expected"),
    ):
        obtain(data_set(url, mirror=mirror), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


def test_a_download_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_DEADLINE_S", -1.0)

    with site(ARCHIVE) as url, pytest.raises(DataError, match=r"cannot be had \(not done after"):
        obtain(data_set(url), tmp_path, print)


def test_a_mirror_larger_than_expected_is_refused(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(download, "_BLOCK_BYTES", 0)
    small = replace(mirror, size=100)

    with closed_site() as url, pytest.raises(DataError, match=r"cannot be had either.*large"):
        obtain(data_set(url, mirror=small), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


def test_a_download_that_breaks_off_is_refused_and_not_kept(tmp_path):
    with (
        site(ARCHIVE[:-10], announce=len(ARCHIVE)) as url,
        pytest.raises(DataError, match="cannot be had"),
    ):
        obtain(data_set(url), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


def test_a_site_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.2)

    with silent_site() as url, pytest.raises(DataError, match=r"cannot be had \(timed out\)"):
        obtain(data_set(url), tmp_path, print)


def test_a_site_that_is_not_there_is_an_error_without_a_mirror(tmp_path):
    with (
        closed_site() as url,
        pytest.raises(DataError, match=r"cannot be had .*Connection refused"),
    ):
        obtain(data_set(url), tmp_path, print)


def test_a_mirror_serves_where_the_site_cannot_be_reached_and_says_so(tmp_path, mirror):
    said = []

    with closed_site() as url:
        place = obtain(data_set(url, mirror=mirror), tmp_path / "cache", said.append)

    assert (place / "films.inter").read_text() == "rows"
    assert names_in(place) == ["films.inter"]
    assert names_in(tmp_path / "cache") == ["films", "films.zip"]
    assert "the site cannot be reached" in said[1]
    assert "soloist_test_films==1.0" in said[1]


def test_a_mirror_with_another_content_is_refused(tmp_path, mirror):
    other = replace(mirror, sha256="0" * 64)

    with closed_site() as url, pytest.raises(DataError, match=r"its SHA-256 is .*, expected 0000"):
        obtain(data_set(url, mirror=other), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


def test_a_mirror_that_cannot_be_had_either_is_an_error(tmp_path, mirror):
    gone = replace(mirror, requirement="soloist_test_films==2.0")

    with (
        closed_site() as url,
        pytest.raises(DataError, match=r"soloist_test_films==2\.0 cannot be had either"),
    ):
        obtain(data_set(url, mirror=gone), tmp_path / "cache", print)


def test_a_data_set_behind_terms_is_to_be_fetched_by_hand(tmp_path):
    with pytest.raises(DataError, match=r"fetched by hand from https://ailab\.criteo\.com"):
        obtain(DATA_SETS["criteo-kaggle"], tmp_path, print)


def test_an_unknown_data_set_is_named_with_the_nearest():
    with pytest.raises(DataError, match="did you mean 'movielens-100k'"):
        find_data_set("movielens100k")


def test_whatever_is_downloaded_has_a_checksum():
    assert all(d.archive and len(d.archive.sha256) == 64 for d in DATA_SETS.values() if d.url)
