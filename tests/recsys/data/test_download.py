from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from recsys.data import download
from recsys.data.download import DATA_SETS, DataSet, Wheel, find_data_set, obtain
from recsys.errors import DataError
from tests.support.web import archive, closed_site, silent_site, site, write_wheel

ARCHIVE = archive({"ml/u.data": "1\t2\t3\t4\n", "ml/u.item": "2|x\n"})


def data_set(url, mirror=None):
    md5 = hashlib.md5(ARCHIVE).hexdigest()
    return DataSet(name="films", page="https://…", terms="be kind", url=url, md5=md5, mirror=mirror)


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
        requirement="soloist_test_films==1.0", sha256=sha256, folder="soloist_test_films/data"
    )


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_data_set_is_downloaded_and_unpacked(tmp_path):
    with site(ARCHIVE) as url:
        place = obtain(data_set(url), tmp_path / "cache", print)

    assert place == tmp_path / "cache" / "films"
    assert (place / "u.data").read_text() == "1\t2\t3\t4\n"
    assert names_in(place) == ["u.data", "u.item"]
    assert names_in(tmp_path / "cache") == ["films"]


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


def test_another_content_than_published_is_refused_and_not_kept(tmp_path, mirror):
    with site(ARCHIVE + b"x") as url, pytest.raises(DataError, match=r"its MD5 is .*, expected"):
        obtain(data_set(url, mirror=mirror), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


@pytest.mark.parametrize("name", ["../up", "/up", "ml/../../up", "ml\\..\\up"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    content = archive({"ml/u.data": "1\t2\t3\t4\n", name: "x"})
    films = replace(data_set(""), md5=hashlib.md5(content).hexdigest())

    with site(content) as url, pytest.raises(DataError, match="expected names inside a folder"):
        obtain(replace(films, url=url), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []
    assert names_in(tmp_path) == ["cache"]


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
    assert names_in(tmp_path / "cache") == ["films"]
    assert "the site cannot be reached" in said[1]
    assert "soloist_test_films==1.0" in said[1]


def test_a_mirror_with_another_content_is_refused(tmp_path, mirror):
    other = Wheel(requirement=mirror.requirement, sha256="0" * 64, folder=mirror.folder)

    with closed_site() as url, pytest.raises(DataError, match=r"its SHA-256 is .*, expected 0000"):
        obtain(data_set(url, mirror=other), tmp_path / "cache", print)

    assert names_in(tmp_path / "cache") == []


def test_a_mirror_that_cannot_be_had_either_is_an_error(tmp_path, mirror):
    gone = Wheel(requirement="soloist_test_films==2.0", sha256="", folder="")

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
    assert all(d.md5 and len(d.md5) == 32 for d in DATA_SETS.values() if d.url)
