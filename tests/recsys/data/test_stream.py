"""The training stream against the click log that it comes from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.config import StreamConfig
from recsys.data import stream as stream_module
from recsys.data.stream import Batches, Stream
from recsys.seeds import Seeds
from tests.support.logs import bag_of, small_log


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("stream"))


def _config(**fields):
    return StreamConfig.model_validate({"batch_size": 32, "shuffle": 50} | fields)


def _all_rows(stream, replica=0):
    return stream.rows(replica, 0, stream.examples)


def test_every_training_example_comes_once_an_epoch(log) -> None:
    stream = Stream(log, "train", _config(epochs=2), [Seeds(shuffle=3)])

    rows = _all_rows(stream)

    length = len(log.splits["train"])
    assert sorted(rows[:length]) == sorted(rows[length:]) == list(log.splits["train"])
    assert not np.array_equal(rows[:length], rows[length:])


def test_a_batch_is_the_same_wherever_reading_starts(log) -> None:
    stream = Stream(log, "train", _config(epochs=2), [Seeds(shuffle=1), Seeds(shuffle=2)])
    whole = list(stream.batches())

    later = list(stream.batches(start=40, stop=55))

    assert len(whole) == stream.batch_count
    for expected, found in zip(whole[40:55], later, strict=True):
        assert torch.equal(expected.labels, found.labels)
        assert torch.equal(expected.dense, found.dense)
        assert torch.equal(expected.sparse.values(), found.sparse.values())
        assert torch.equal(expected.sparse.lengths(), found.sparse.lengths())


def test_batches_do_not_depend_on_how_much_is_gathered_at_once(log, monkeypatch) -> None:
    stream = Stream(log, "train", _config(epochs=2), [Seeds(shuffle=1)])
    at_once = [batch.sparse.values() for batch in stream.batches()]

    monkeypatch.setattr(stream_module, "_CHUNK_EXAMPLES", 70)
    in_pieces = [batch.sparse.values() for batch in stream.batches()]

    assert len(at_once) == len(in_pieces)
    assert all(map(torch.equal, at_once, in_pieces))


def test_a_batch_holds_the_log_s_own_values_bags_included(log) -> None:
    stream = Stream(log, "train", _config(), [Seeds(shuffle=1), Seeds(shuffle=2)])

    batch = next(stream.batches())

    for replica in range(2):
        rows = stream.rows(replica, 0, 32)
        assert batch.labels[replica].tolist() == log.label[rows].tolist()
        assert batch.dense[replica].tolist() == log.dense[rows].tolist()
        for column, feature in enumerate(log.schema.single_valued):
            jagged = batch.sparse[f"r{replica}/{feature.name}"]
            assert jagged.values().tolist() == log.ids[rows, column].tolist()
            assert jagged.lengths().tolist() == [1] * 32
        for feature in log.schema.multi_valued:
            jagged = batch.sparse[f"r{replica}/{feature.name}"].to_dense()
            found = [one.tolist() for one in jagged]
            assert found == [bag_of(log, feature.name, row).tolist() for row in rows]


def test_the_lengths_told_to_torchrec_are_those_of_the_values(log) -> None:
    batch = next(Stream(log, "train", _config(), [Seeds(), Seeds(shuffle=1)]).batches())

    told = batch.sparse.length_per_key()

    counted = batch.sparse.lengths().view(len(told), -1).sum(1).tolist()
    assert told == counted
    assert batch.sparse.offset_per_key() == [0, *np.cumsum(counted).tolist()]


def test_the_arithmetic_seed_reorders_examples_inside_their_batch_alone(log) -> None:
    plain = Stream(log, "train", _config(), [Seeds(shuffle=1)])
    permuted = Stream(log, "train", _config(), [Seeds(shuffle=1, arithmetic=5)])

    before, after = _all_rows(plain), _all_rows(permuted)

    assert not np.array_equal(before, after)
    for first in range(0, len(before), 32):
        assert sorted(before[first : first + 32]) == sorted(after[first : first + 32])


def test_width_zero_is_the_stored_order(log) -> None:
    stream = Stream(log, "train", _config(shuffle=0), [Seeds(shuffle=9)])

    assert _all_rows(stream).tolist() == list(log.splits["train"])


def test_evaluation_shows_every_replica_the_same_rows(log) -> None:
    rows = np.array([4, 1, 9])

    (batch,) = Batches(log, 2).same_rows(rows, 16)

    assert batch.labels.tolist() == [log.label[rows].tolist()] * 2
    first, second = batch.sparse.values().view(2, -1)
    assert torch.equal(first, second)
