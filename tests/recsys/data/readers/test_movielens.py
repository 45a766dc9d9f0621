from __future__ import annotations

import functools

import numpy as np
import pytest

from recsys.data.preparation import Split, prepare
from recsys.data.readers.movielens import MovieLens
from recsys.data.readers.reader import Source
from recsys.data.readers.request import Request
from recsys.errors import ConfigError, DataError
from tests.support.rows import lists_of
from tests.support.tables import (
    MOVIES,
    RATINGS,
    USERS,
    same_classes,
    write_1m,
    write_100k,
    write_atomic,
    write_latest,
    write_lines,
)

FORMS = {
    "100k": write_100k,
    "1m": write_1m,
    "10m": functools.partial(write_1m, users=False),
    "latest": write_latest,
    "atomic": write_atomic,
}
TELLS_USERS = ("100k", "1m", "atomic")
ALL_TRAIN = Split(valid=0, test=0)


def prepared(directory, form, split=ALL_TRAIN, **options):
    source = directory / "source"
    source.mkdir()
    reader = MovieLens(FORMS[form](source), **options)
    return prepare(reader, directory / "log", split=split)


def column(log, name):
    names = [feature.name for feature in log.schema.single_valued]
    return log.ids[:, names.index(name)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_clicks_in_order_of_time(tmp_path, form):
    log = prepared(tmp_path, form)

    assert log.label.tolist() == [float(rating >= 4) for _, _, rating, _ in RATINGS]
    assert log.group.tolist() == [int(user) for user, *_ in RATINGS]
    assert same_classes(column(log, "user"), [user for user, *_ in RATINGS])
    assert same_classes(column(log, "item"), [item for _, item, *_ in RATINGS])
    assert same_classes(column(log, "hour"), [time // 3600 for *_, time in RATINGS])
    assert log.meta["form"] == form


@pytest.mark.parametrize("form", FORMS)
def test_every_form_tells_year_and_genres_of_the_movies(tmp_path, form):
    log = prepared(tmp_path, form)

    year = {movie: year for movie, _, year, _ in MOVIES}
    genres = {movie: kinds for movie, _, _, kinds in MOVIES}
    years = column(log, "year")
    assert same_classes(years, [year[item] for _, item, *_ in RATINGS])
    assert set(years[[item == "12" for _, item, *_ in RATINGS]]) == {0}
    bags = lists_of(log.bags["genres"])
    assert [len(bag) for bag in bags] == [len(genres[item]) for _, item, *_ in RATINGS]
    named = {
        (i, g)
        for bag, (_, m, *_) in zip(bags, RATINGS, strict=True)
        for i, g in zip(bag, genres[m], strict=True)
    }
    assert len(named) == len({i for i, _ in named}) == len({g for _, g in named}) == 4


@pytest.mark.parametrize("form", TELLS_USERS)
def test_what_is_told_of_users_becomes_features(tmp_path, form):
    log = prepared(tmp_path, form)

    told = {user: rest for user, *rest in USERS}
    bracket = {"24": 18, "53": 50, "17": 1}
    rated = [told[user] for user, *_ in RATINGS]
    assert same_classes(column(log, "age"), [bracket[age] for age, *_ in rated])
    assert same_classes(column(log, "gender"), [gender for _, gender, *_ in rated])
    assert same_classes(column(log, "occupation"), [job for _, _, job, _ in rated])
    assert same_classes(column(log, "zip"), [code[:2] for *_, code in rated])


@pytest.mark.parametrize("form", ["10m", "latest"])
def test_what_a_form_does_not_tell_is_no_feature(tmp_path, form):
    log = prepared(tmp_path, form)

    names = [feature.name for feature in log.schema.sparse]
    assert names == ["user", "item", "year", "genres", "hour"]


def test_forms_that_tell_the_same_have_the_same_fingerprint(tmp_path):
    fingerprints = set()
    for form in TELLS_USERS:
        (tmp_path / form).mkdir()
        fingerprints.add(prepared(tmp_path / form, form).fingerprint)

    assert len(fingerprints) == 1


def test_ratings_out_of_order_are_stored_by_time(tmp_path):
    write_100k(tmp_path)
    lines = ("\t".join(map(str, rating)) for rating in reversed(RATINGS))
    write_lines(tmp_path / "u.data", lines)

    log = prepare(MovieLens(tmp_path), tmp_path / "log", split=ALL_TRAIN)

    assert log.group.tolist() == [int(user) for user, *_ in RATINGS]


def test_the_last_ratings_are_tested_on_and_what_train_lacks_is_row_0(tmp_path):
    log = prepared(tmp_path, "100k", Split(valid=0, test=0.3))

    test = log.splits["test"]
    users = column(log, "user")[test.start :]
    assert test == range(7, 10)
    assert users[2] == 0
    assert np.all(users[:2] > 0)
    assert np.all(column(log, "hour")[test.start :] == 0)


def test_the_threshold_moves_the_labels(tmp_path):
    log = prepared(tmp_path, "latest", threshold=3)

    assert log.label.tolist() == [float(rating >= 3) for _, _, rating, _ in RATINGS]


def test_a_directory_with_no_form_is_refused_with_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"no form of MovieLens; expected one of: u\.data"):
        MovieLens(tmp_path)


def test_more_than_one_source_is_refused(tmp_path):
    request = Request(sources=(Source(path=tmp_path), Source(path=tmp_path)))

    with pytest.raises(ConfigError, match="2 sources, expected one directory"):
        MovieLens.open(request)


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        ("u.data", ["1\t10\t5\t0", "1\t10\t5"], r"u\.data, row 2: expected 4 columns, found 3"),
        ("u.data", ["1\t10\tgood\t0"], r"u\.data, row 1: rating is 'good', expected a number"),
        ("u.data", ["1\t10\t5\t0", "9\t10\t5\t0"], r"row 2: user '9' is not in u\.user"),
        ("u.data", ["1\t10\t5\t0", "1\t99\t5\t0"], r"row 2: item '99' is not in u\.item"),
        ("u.data", ["1\t10\t5\t"], r"u\.data, row 1: time is missing"),
        ("u.user", ["1|24|M|technician"], r"u\.user, row 1: expected 5 columns, found 4"),
        ("u.user", ["1|old|M|writer|1"], r"u\.user, row 1: age is 'old', expected a whole number"),
        ("u.item", ["10|Title|01-Jan-1995|"], r"u\.item, row 1: expected 24 columns, found 4"),
        ("u.item", [], r"u\.item: is empty"),
    ],
)
def test_a_broken_file_is_refused_with_its_row(tmp_path, file, lines, message):
    write_100k(tmp_path)
    write_lines(tmp_path / file, lines)

    with pytest.raises(DataError, match=message):
        prepare(MovieLens(tmp_path), tmp_path / "log")


def test_a_doubled_delimiter_counts_as_one(tmp_path):
    write_1m(tmp_path)
    write_lines(tmp_path / "ratings.dat", ["1::10::5::0", "1::10::5"])

    with pytest.raises(DataError, match=r"ratings\.dat, row 2: expected 4 columns, found 3"):
        prepare(MovieLens(tmp_path), tmp_path / "log")


@pytest.mark.parametrize("name", ["class:token_seq", "genre:token_seq", "genre:token"])
def test_recbole_names_genres_in_two_ways(tmp_path, name):
    (tmp_path / "atomic").mkdir()
    expected = prepare(MovieLens(write_atomic(tmp_path)), tmp_path / "expected", split=ALL_TRAIN)
    movies = (tmp_path / "ml.item").read_text().replace("class:token_seq", name)
    write_atomic(tmp_path / "atomic")
    (tmp_path / "atomic" / "ml.item").write_text(movies)

    found = prepare(MovieLens(tmp_path / "atomic"), tmp_path / "found", split=ALL_TRAIN)

    assert found.fingerprint == expected.fingerprint


def test_recbole_tells_nothing_of_the_users_of_large_sets(tmp_path):
    (write_atomic(tmp_path) / "ml.user").unlink()

    columns = MovieLens(tmp_path).columns

    assert [c.name for c in columns.categorical] == ["user", "item", "year", "genres", "hour"]


def test_blank_lines_at_the_end_of_a_table_are_no_rows(tmp_path):
    expected = prepare(MovieLens(write_latest(tmp_path)), tmp_path / "expected", split=ALL_TRAIN)
    for name in ("ratings.csv", "movies.csv"):
        with (tmp_path / name).open("a") as file:
            file.write("\n\n")

    found = prepare(MovieLens(tmp_path), tmp_path / "found", split=ALL_TRAIN)

    assert found.fingerprint == expected.fingerprint
