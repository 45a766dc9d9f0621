from __future__ import annotations

import doctest
import subprocess
import sys
from collections import Counter as PlainCounter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data import encoding
from recsys.data.encoding import (
    Codes,
    Counter,
    Encoding,
    Hashing,
    Vocabulary,
    group_numbers,
    hash_text,
)
from recsys.errors import ConfigError, DataError

MASK = 2**64 - 1
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
tokens = st.sampled_from(["", "a", "b", "c", "dd", "é", "68fd1e64"]) | texts | st.none()


def place(index):
    return f"file, row {index + 1}"


def fnv_1a_mixed(text):
    """Restate the hash with Python's whole numbers."""
    word = 0xCBF29CE484222325
    for byte in text.encode():
        word = (word ^ byte) * 0x100000001B3 & MASK
    word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & MASK
    word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return word ^ word >> 33


def counted(*chunks):
    counter = Counter()
    for chunk in chunks:
        counter.add(pa.array(chunk, pa.string()))
    return counter


@given(st.lists(texts, max_size=20), st.integers(0, 5))
def test_the_hash_is_fnv_1a_with_a_final_mixing(values, start):
    found = hash_text(pa.array(values, pa.string()).slice(min(start, len(values))))

    assert found.tolist() == [fnv_1a_mixed(text) for text in values[start:]]


def test_the_hash_is_the_same_in_another_process():
    code = (
        "import pyarrow as pa; from recsys.data.encoding import hash_text;"
        "print(hash_text(pa.array(['68fd1e64', 'Zürich'])).tolist())"
    )

    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
    ).stdout

    assert printed.strip() == "[12226031434765971675, 2644220054110733776]"


def test_hashing_spreads_values_over_the_whole_table_but_row_0():
    values = pa.array([f"{number:08x}" for number in range(100_000)])

    rows = Hashing(cardinality=101).encode(values, "f", place)

    counts = np.bincount(rows, minlength=101)
    chi_squared = ((counts[1:] - 1000) ** 2 / 1000).sum()
    assert counts[0] == 0
    assert chi_squared < 149  # 99 degrees of freedom: exceeded once in a thousand


@given(st.lists(tokens, max_size=30), st.integers(2, 50))
def test_hashing_depends_on_the_value_alone(values, cardinality):
    rows = Hashing(cardinality=cardinality).encode(pa.array(values, pa.string()), "f", place)

    assert rows.dtype == np.int32
    assert rows.tolist() == [
        1 + fnv_1a_mixed(value) % (cardinality - 1) if value else 0 for value in values
    ]


@given(st.lists(tokens, max_size=30), st.lists(tokens, max_size=30), st.integers(1, 3))
def test_a_vocabulary_keeps_what_occurs_often_enough(train, other, least):
    vocabulary = counted(train).vocabulary(least)

    rows = vocabulary.encode(pa.array(other, pa.string()), "f", place)

    counts = PlainCounter(value for value in train if value)
    ranked = sorted(
        (value for value in counts if counts[value] >= least),
        key=lambda value: (-counts[value], fnv_1a_mixed(value)),
    )
    row_of = {value: 1 + rank for rank, value in enumerate(ranked)}
    assert vocabulary.cardinality == 1 + len(ranked)
    assert rows.tolist() == [row_of.get(value, 0) for value in other]


@given(st.lists(st.lists(tokens, max_size=10), max_size=8))
def test_counting_does_not_depend_on_chunks_or_order(chunks):
    joined = [value for chunk in chunks for value in chunk]

    found = counted(*reversed(chunks)).vocabulary(1)

    whole = counted(joined).vocabulary(1)
    assert found.words.tolist() == whole.words.tolist()
    assert found.rows.tolist() == whole.rows.tolist()


def test_dictionary_encoded_values_are_the_same_values():
    values = pa.array(["b", None, "a", "", "b"])
    vocabulary = counted(["a", "b", "b"]).vocabulary(1)

    rows = vocabulary.encode(values.dictionary_encode(), "f", place)

    assert rows.tolist() == vocabulary.encode(values, "f", place).tolist() == [1, 0, 2, 0, 1]


def test_numbers_are_encoded_as_their_text():
    vocabulary = counted(["7", "12"]).vocabulary(1)

    assert vocabulary.encode(pa.array([12, None, 7, 3]), "f", place).tolist() == (
        vocabulary.encode(pa.array(["12", None, "7", "3"]), "f", place).tolist()
    )


def test_an_empty_vocabulary_knows_nothing():
    empty = Vocabulary(words=np.empty(0, np.uint64), rows=np.empty(0, np.int32))

    assert empty.encode(pa.array(["a"]), "f", place).tolist() == [0]
    assert empty.cardinality == 1


@pytest.mark.parametrize("values", [["0", "", None, "4"], [0, None, None, 4]])
def test_codes_take_the_row_after_their_own(values):
    assert Codes(cardinality=6).encode(pa.array(values), "f", place).tolist() == [1, 0, 0, 5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["0", "5"], "file, row 2: f is 5, expected a code from 0 to 4"),
        (["0", None, "-1"], "file, row 3: f is -1, expected a code from 0 to 4"),
        (["1.5"], "file, row 1: f is '1.5', expected an integer code"),
        (["0", "1", "x", "y"], "file, row 3: f is 'x', expected an integer code"),
        (["99999999999999999999"], "expected an integer code"),
    ],
)
def test_a_code_beyond_its_table_is_refused_with_its_row(values, message):
    with pytest.raises(DataError, match=message):
        Codes(cardinality=6).encode(pa.array(values), "f", place)


def test_groups_that_are_numbers_stay_themselves_and_others_never_meet_them():
    values = pa.array(["196", "0", "007", "-5", "Zürich", None, "196", "9" * 19])

    numbers = group_numbers(values).tolist()

    assert numbers[:2] == [196, 0]
    assert numbers[6] == 196
    assert numbers[5] == -1
    assert all(number < 0 for number in [*numbers[2:5], numbers[7]])
    assert len(set(numbers)) == 7


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        ("hash:1000", "hash", 1000),
        ("vocabulary", "vocabulary", 1),
        ("vocabulary:10", "vocabulary", 10),
        ("codes:957", "codes", 957),
    ],
)
def test_encodings_are_written_as_kind_and_size(text, kind, size):
    assert Encoding.parse(text) == Encoding(kind=kind, size=size)


@pytest.mark.parametrize(
    "text",
    [
        *("", "hash", "hash:", "hash:1", "hash:-3", "hash:1e5", "hash:²", "hash:3000000000"),
        *("vocabulary:0", "vocabulary:x", "codes", "codes:0", "onehot", "Hash:10", "hash:10:2"),
    ],
)
def test_any_other_encoding_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected hash:ROWS"):
        Encoding.parse(text)


def test_the_examples_of_the_documentation_hold():
    assert doctest.testmod(encoding).failed == 0
