"""Encoding of categorical values as rows of an embedding table.

Row 0 is for missing and out-of-vocabulary values. Values are hashed as text to 64 bits by FNV-1a
with MurmurHash3's finalizer, so results depend on the text only, not on process, platform or
chunks. Spellings are normalised: 12.0 counts as 12, True and TRUE as true.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.readers.values import first_failing, shown
from recsys.errors import ConfigError, DataError

Words = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.int32]
Place = Callable[[int], str]

_FNV_OFFSET, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_MIX = ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53))
_LARGEST_TABLE = 2**31 - 1
_LONG_BYTES = 4096  # of a text that is hashed by BLAKE2b: FNV-1a in NumPy takes 10 us a byte
CODED = pa.dictionary(pa.int32(), pa.string())
"""The type of text that is encoded without a copy"""


class Encoder(Protocol):
    """Maps the values of one feature to rows of its table."""

    @property
    def cardinality(self) -> int:
        """Rows of the table, including row 0."""

    def encode(self, values: pa.Array, name: str, place: Place) -> Ids:
        """Return the table row of each value, int32 [n]; missing values are row 0.

        ``place(i)`` returns the location of value i, for an error message.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashing:
    """Row ``1 + hash mod (cardinality - 1)``: one pass, a bounded table, collisions."""

    cardinality: int

    def encode(self, values: pa.Array, name: str, place: Place) -> Ids:
        """Return the table row of each value, int32 [n]."""
        return _by_distinct_value(
            values, lambda words: 1 + (words % np.uint64(self.cardinality - 1)).astype(np.int32)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """Kept values: their hashes in ascending order and their rows; others are row 0.

    Values are identified by 64 bits: for 10 million values, the probability of any collision is
    3e-6.
    """

    words: Words
    rows: Ids

    @property
    def cardinality(self) -> int:
        """Rows of the table, including row 0."""
        return 1 + len(self.words)

    def encode(self, values: pa.Array, name: str, place: Place) -> Ids:
        """Return the table row of each value, int32 [n]."""
        return _by_distinct_value(values, self._look_up)

    def _look_up(self, words: Words) -> Ids:
        if not len(self.words):
            return np.zeros(len(words), np.int32)
        at = np.minimum(np.searchsorted(self.words, words), len(self.words) - 1)
        return np.where(self.words[at] == words, self.rows[at], 0).astype(np.int32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Codes:
    """Values that are integers from 0 to ``cardinality - 2``; code c has row c + 1."""

    cardinality: int

    def encode(self, values: pa.Array, name: str, place: Place) -> Ids:
        """Return the table row of each value, int32 [n]; DataError for any other value."""
        given = values if pa.types.is_integer(values.type) else _decoded(values)
        try:
            codes = pc.cast(given, pa.int64())
        except pa.ArrowInvalid:
            row = first_failing(lambda part: pc.cast(part, pa.int64()), given)
            raise DataError(
                f"{place(row)}: {name} is {shown(given[row].as_py())}, expected an integer code"
            ) from None
        in_table = pc.and_(pc.greater_equal(codes, 0), pc.less(codes, self.cardinality - 1))
        beyond = np.flatnonzero(~pc.fill_null(in_table, True).to_numpy(zero_copy_only=False))
        if len(beyond):
            raise DataError(
                f"{place(int(beyond[0]))}: {name} is {codes[int(beyond[0])]},"
                f" expected a code from 0 to {self.cardinality - 2}"
            )
        return pc.fill_null(pc.add(codes, 1), 0).to_numpy().astype(np.int32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """An encoding, written ``hash:ROWS``, ``vocabulary[:COUNT]`` or ``codes:N``.

    ``hash:100000`` hashes into 99,999 rows besides row 0. ``vocabulary:10`` has a row for each
    value that occurs at least 10 times in the training split. ``codes:957`` takes integers 0 to 956
    as they are.
    """

    kind: str
    size: int

    @classmethod
    def parse(cls, text: str) -> Encoding:
        """Return the encoding written as ``text``; ConfigError if invalid."""
        kind, _, size = text.partition(":")
        number = int(size) if size.isascii() and size.isdigit() and len(size) < 20 else None
        if kind == "vocabulary" and (not size or number):
            return cls(kind=kind, size=number or 1)
        if kind == "hash" and number and 2 <= number <= _LARGEST_TABLE:
            return cls(kind=kind, size=number)
        if kind == "codes" and number and number < _LARGEST_TABLE:
            return cls(kind=kind, size=number)
        raise ConfigError(
            f"encoding {shown(text)}: expected hash:ROWS (at least 2), vocabulary, vocabulary:COUNT"
            " or codes:N"
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.size}"

    @property
    def counts(self) -> bool:
        """Whether the training split must be counted first."""
        return self.kind == "vocabulary"

    def encoder(self, counted: Counter | None) -> Encoder:
        """Return the encoder, from the training split's counts if needed."""
        if counted is not None:
            return counted.vocabulary(self.size)
        if self.kind == "hash":
            return Hashing(cardinality=self.size)
        return Codes(cardinality=self.size + 1)


class Counter:
    """Counts distinct values of a stream, in 16 to 32 bytes each.

    New counts are merged when they are as many as the merged ones, so merging costs O(n log n) in
    total.
    """

    def __init__(self) -> None:
        self._words, self._counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._waiting: list[tuple[Words, npt.NDArray[np.int64]]] = []
        self._waiting_values = 0

    def add(self, values: pa.Array) -> None:
        """Count the values of a chunk; missing ones are not counted."""
        indices, distinct = _distinct(values)
        counts = np.bincount(indices[indices >= 0], minlength=len(distinct))
        words = hash_text(distinct)
        seen = (counts > 0) & _not_empty(distinct)
        self._waiting.append((words[seen], counts[seen]))
        self._waiting_values += int(seen.sum())
        if self._waiting_values > len(self._words):
            self._merge()

    def vocabulary(self, least: int) -> Vocabulary:
        """Return the values counted at least ``least`` times, the most frequent in row 1.

        Ties are ordered by hash, so the order of the stream does not matter.
        """
        self._merge()
        kept = self._counts >= least
        words, counts = self._words[kept], self._counts[kept]
        rows = np.empty(len(words), np.int32)
        rows[np.argsort(-counts, kind="stable")] = np.arange(1, len(words) + 1, dtype=np.int32)
        return Vocabulary(words=words, rows=rows)

    def _merge(self) -> None:
        words = np.concatenate([self._words, *(words for words, _ in self._waiting)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._waiting)])
        by_word = np.argsort(words)
        words, counts = words[by_word], counts[by_word]
        firsts = np.flatnonzero(np.concatenate([[True], words[1:] != words[:-1]])[: len(words)])
        self._words = words[firsts]
        self._counts = np.add.reduceat(counts, firsts) if len(firsts) else counts
        self._waiting, self._waiting_values = [], 0


def group_numbers(values: pa.Array) -> npt.NDArray[np.int64]:
    """Return a number for each group, int64 [n]; missing values are group -1.

    A plain non-negative integer of up to 18 digits is unchanged; other text becomes a negative
    number (its hash).
    """
    indices, distinct = _distinct(values)
    plain = pc.match_substring_regex(distinct, "^(0|[1-9][0-9]{0,17})$")
    itself = pc.cast(pc.if_else(plain, distinct, "0"), pa.int64()).to_numpy()
    hashed = (hash_text(distinct) | np.uint64(1 << 63)).view(np.int64)
    numbers = np.where(plain.to_numpy(zero_copy_only=False), itself, hashed)
    return np.append(numbers, -1)[indices]


def hash_text(texts: pa.Array) -> Words:
    """Return the 64-bit hash of each text (its UTF-8 bytes), uint64 [n]; null is not allowed.

    >>> [hex(word) for word in hash_text(pa.array(["", "a"])).tolist()]
    ['0xefd01f60ba992926', '0x82a2a958a9bece5b']
    """
    length = len(texts)
    _, offset_buffer, data_buffer = texts.buffers()
    if length == 0:
        return np.empty(0, np.uint64)
    ends = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + length + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)
    lengths = np.diff(ends)
    words = np.full(length, _FNV_OFFSET)
    for long in np.flatnonzero(lengths > _LONG_BYTES):
        digest = hashlib.blake2b(
            data[ends[long] : ends[long + 1]].tobytes(), digest_size=8
        ).digest()
        words[long] = np.frombuffer(digest, "<u8")[0]
    longer = np.flatnonzero(lengths <= _LONG_BYTES)
    for place in range(int(lengths[longer].max(initial=0))):
        longer = longer[lengths[longer] > place]
        words[longer] = (words[longer] ^ data[ends[longer] + place]) * _FNV_PRIME
    for shift, factor in _MIX:
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words ^ (words >> np.uint64(33))


def _by_distinct_value(values: pa.Array, row_of: Callable[[Words], Ids]) -> Ids:
    """Return the table row of each value, with one lookup for each distinct value."""
    indices, distinct = _distinct(values)
    rows = np.append(np.where(_not_empty(distinct), row_of(hash_text(distinct)), 0), 0)
    return rows.astype(np.int32)[indices]


def _distinct(values: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """Return each value's index among the distinct texts (-1: missing), and these texts.

    Two texts are equal if the source spells one value in two ways.
    """
    if values.type != CODED or values.dictionary.null_count:
        values = pc.dictionary_encode(pc.cast(values, pa.string()))
    return pc.fill_null(values.indices, -1).to_numpy(), _canonical(values.dictionary)


def _canonical(texts: pa.Array) -> pa.Array:
    """Return 12 for 12.0 (pandas writes integers so if one is missing), and true for True."""
    if pc.any(pc.match_substring(texts, ".0")).as_py():
        texts = pc.replace_substring_regex(texts, r"^(-?[0-9]+)\.0+$", r"\1")
    words = pc.is_in(texts, pa.array(["True", "TRUE", "False", "FALSE"]))
    return pc.if_else(words, pc.utf8_lower(texts), texts) if pc.any(words).as_py() else texts


def _decoded(values: pa.Array) -> pa.Array:
    """Return values as text; empty text is missing."""
    indices, distinct = _distinct(values)
    return pc.if_else(pc.equal(distinct, ""), None, distinct).take(
        pa.array(indices, mask=indices < 0)
    )


def _not_empty(texts: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.not_equal(texts, "").to_numpy(zero_copy_only=False), np.bool_)
