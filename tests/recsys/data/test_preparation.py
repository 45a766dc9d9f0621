from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.preparation import Encodings, Split, SplitBy, prepare
from recsys.data.readers.reader import Categorical, Chunk, Columns, Origin, Traits
from recsys.errors import ConfigError, DataError
from tests.support.rows import lists_of, plain


@dataclass
class Memory:
    """A reader of rows (label, number, words) in memory, a chunk of some rows at a time."""

    rows: list[tuple[int, int, list[str]]]
    chunk_rows: int = 3
    traits: Traits = field(default_factory=lambda: Traits(in_time_order=True))
    passes: int = 0

    columns = Columns(
        dense=("n",),
        categorical=(
            Categorical(name="first", encoding="vocabulary:1"),
            Categorical(name="words", encoding="vocabulary:1", multi_valued=True),
        ),
        group="n",
    )
    meta = {"reader": "memory"}  # noqa: RUF012

    def row_count(self):
        return len(self.rows)

    def chunks(self):
        self.passes += 1
        for start in range(0, len(self.rows), self.chunk_rows):
            rows = self.rows[start : start + self.chunk_rows]
            numbers = np.array([number for _, number, _ in rows], np.float64)
            yield Chunk(
                origin=Origin(path="memory", first_row=start + 1),
                label=np.array([label for label, _, _ in rows], np.float32),
                dense=numbers.astype(np.float32)[:, None],
                categorical=(
                    pa.array([words[0] if words else None for *_, words in rows], pa.string()),
                    pa.array([words for *_, words in rows], pa.list_(pa.string())),
                ),
                group=pa.array([number for _, number, _ in rows]).cast(pa.string()),
                time=numbers if self.traits.timed else None,
                split="test" if self.traits.split and start else None,
            )


words = st.lists(st.sampled_from("abcde"), max_size=3)
some_rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), words), max_size=20).map(
    lambda rows: [(0, 5, ["a"]), (1, 5, ["b"]), *rows]
)
ALL_TRAIN = Split(valid=0, test=0)


def some(count):
    return [(row % 2, row, ["abc"[row % 3]]) for row in range(count)]


@settings(max_examples=25)
@given(some_rows, st.integers(1, 30))
def test_the_log_does_not_depend_on_how_the_source_is_cut(tmp_path_factory, rows, chunk_rows):
    directory = tmp_path_factory.mktemp("cut")

    log = prepare(Memory(rows, chunk_rows), directory / "log", split=ALL_TRAIN)

    whole = prepare(Memory(rows, 100), directory / "whole", split=ALL_TRAIN)
    assert plain(log.rows) == plain(whole.rows)
    assert log.fingerprint == whole.fingerprint


@settings(max_examples=25)
@given(some_rows)
def test_equal_words_have_equal_rows_in_bags_and_columns(tmp_path_factory, rows):
    log = prepare(Memory(rows), tmp_path_factory.mktemp("words") / "log", split=ALL_TRAIN)

    bags = lists_of(log.bags["words"])
    pairs = {
        pair
        for bag, (*_, held) in zip(bags, rows, strict=True)
        for pair in zip(bag, held, strict=True)
    }
    assert len(pairs) == len({row for row, _ in pairs}) == len({word for _, word in pairs})
    assert log.group.tolist() == [number for _, number, _ in rows]
    assert log.dense[:, 0].tolist() == [number for _, number, _ in rows]


def test_vocabularies_come_from_train_alone(tmp_path):
    rows = [*some(10), (0, 10, ["z", "a"]), (1, 11, ["a"])]

    log = prepare(Memory(rows), tmp_path / "log", split=Split(valid=0, test=2 / 12))

    assert [feature.cardinality for feature in log.schema.sparse] == [4, 4]
    assert log.ids[10, 0] == 0
    assert lists_of(log.bags["words"])[10] == [0, log.ids[0, 0]]


def test_rows_of_valid_do_not_count_towards_the_threshold(tmp_path):
    rows = [(row % 2, row, ["a" if row < 4 else "b"]) for row in range(8)]

    log = prepare(
        Memory(rows),
        tmp_path / "log",
        split=Split(valid=0.25, test=0),
        encodings=Encodings(default="vocabulary:3"),
    )

    assert log.ids[:, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_rows_out_of_order_are_split_and_stored_by_time(tmp_path):
    numbers = [7, 3, 9, 0, 5, 1, 8, 2, 6, 4]
    rows = [(number % 2, number, []) for number in numbers]

    log = prepare(
        Memory(rows, traits=Traits(timed=True)), tmp_path / "log", split=Split(valid=0.2, test=0.2)
    )

    assert log.dense[:, 0].tolist() == list(range(10))
    assert log.splits == {"train": range(6), "valid": range(6, 8), "test": range(8, 10)}
    assert log.meta["split"] == "time"


def test_a_split_by_fraction_is_drawn_by_its_seed_and_keeps_the_order(tmp_path):
    reader = Memory(some(1000), chunk_rows=70)
    by_seed = [
        prepare(
            reader,
            tmp_path / f"{number}",
            split=Split(by=SplitBy.FRACTION, valid=0.1, test=0.3, seed=seed),
        )
        for number, seed in enumerate([1, 1, 2])
    ]

    tests = [log.dense[log.splits["test"].start :, 0].tolist() for log in by_seed]
    assert tests[0] == tests[1] == sorted(tests[0])
    assert tests[0] != tests[2]
    assert 240 < len(tests[0]) < 360
    assert 60 < len(by_seed[0].splits["valid"]) < 140
    assert sorted(by_seed[0].dense[:, 0].tolist()) == list(range(1000))


def test_sources_that_are_splits_are_kept_as_they_are(tmp_path):
    log = prepare(Memory(some(10), chunk_rows=4, traits=Traits(split=True)), tmp_path / "log")

    assert log.splits == {"train": range(4), "valid": range(4, 4), "test": range(4, 10)}
    assert log.meta["split"] == "files"


def test_rows_without_time_are_split_by_fraction(tmp_path):
    log = prepare(Memory(some(100), traits=Traits()), tmp_path / "log")

    assert log.meta["split"] == "fraction"


@pytest.mark.parametrize(("encoding", "passes"), [("hash:10", 1), ("vocabulary", 2)])
def test_the_source_is_read_again_for_vocabularies_alone(tmp_path, encoding, passes):
    reader = Memory(some(20))

    prepare(reader, tmp_path / "log", encodings=Encodings(default=encoding))

    assert reader.passes == passes


def test_the_watcher_hears_of_every_phase(tmp_path):
    heard = []

    prepare(
        Memory(some(10), chunk_rows=5, traits=Traits(timed=True)),
        tmp_path / "log",
        split=ALL_TRAIN,
        watch=lambda *what: heard.append(what),
    )

    phases = ["looking for the times that divide it", "counting vocabularies", "writing"]
    assert heard == [(phase, rows) for phase in phases for rows in (5, 10)]


def test_an_encoding_for_a_feature_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="feature 'wrods': expected one of first, words"):
        prepare(
            Memory(some(10)), tmp_path / "log", encodings=Encodings(of_feature={"wrods": "hash:9"})
        )


def test_a_code_beyond_its_table_is_found_in_a_bag_with_its_row(tmp_path):
    rows = [(0, 0, ["1"]), (1, 1, []), (0, 2, ["0", "7"])]

    with pytest.raises(DataError, match="memory, row 3: words is 7, expected a code from 0 to 4"):
        prepare(
            Memory(rows),
            tmp_path / "log",
            split=ALL_TRAIN,
            encodings=Encodings(of_feature={"words": "codes:5"}),
        )


def test_an_output_that_is_there_is_refused_before_anything_is_read(tmp_path):
    reader = Memory(some(10))
    prepare(reader, tmp_path / "log", split=ALL_TRAIN)
    passes = reader.passes

    with pytest.raises(DataError, match="--replace"):
        prepare(reader, tmp_path / "log", split=ALL_TRAIN)

    assert reader.passes == passes


def test_times_that_cannot_divide_are_an_error(tmp_path):
    rows = [(row % 2, 5, []) for row in range(20)]

    with pytest.raises(DataError, match="split train has no row"):
        prepare(Memory(rows, traits=Traits(timed=True)), tmp_path / "log")


@pytest.mark.parametrize(
    "shares", [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5), (float("nan"), 0.1), (1.0, 0.0)]
)
def test_shares_that_leave_nothing_to_train_on_are_refused(shares):
    with pytest.raises(ConfigError, match="together less than 1"):
        Split(valid=shares[0], test=shares[1])
