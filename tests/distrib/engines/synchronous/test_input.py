"""Parts of batches: together they are the stream, and what fills them up is read by nobody."""

from __future__ import annotations

import itertools

import pytest
import torch

from distrib.engines.synchronous.step import RankGroup, evaluation_parts, filled, training_parts
from recsys.data.stream import Batches, Stream
from tests.support.logs import small_log, small_recipe, trials


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("input"))


def a_stream(log, batch_size, **stream):
    recipe = small_recipe(stream={"batch_size": batch_size, **stream})
    return Stream(log, "train", recipe.stream, [each.seeds for each in trials(log, recipe, 2)])


def rank(number, count):
    return RankGroup(rank=number, count=count, per_node=count, device=torch.device("cpu"))


@pytest.mark.parametrize("shuffle", [50, "full"])
@pytest.mark.parametrize(("batch_size", "ranks"), [(32, 2), (45, 2), (100, 3), (7, 4), (3, 4)])
def test_the_parts_of_all_ranks_are_the_batches_of_the_stream(log, batch_size, ranks, shuffle):
    stream = a_stream(log, batch_size, shuffle=shuffle)
    batches = itertools.islice(stream.batches(3), 30)

    parts = [training_parts(stream, rank(number, ranks), start=3) for number in range(ranks)]

    for batch, *of_batch in zip(batches, *parts, strict=False):
        examples = [part.examples for part in of_batch]
        assert sum(examples) == batch.examples == of_batch[0].batch_examples
        assert len({part.batch.examples for part in of_batch}) == 1
        labels = [part.batch.labels[:, : part.examples] for part in of_batch]
        assert torch.equal(torch.cat(labels, 1), batch.labels)
        keys = batch.sparse.keys()
        for key in keys:
            values = [part.batch.sparse[key].values() for part in of_batch]
            assert torch.equal(torch.cat(values), batch.sparse[key].values())
            lengths = [part.batch.sparse[key].lengths()[: part.examples] for part in of_batch]
            assert torch.equal(torch.cat(lengths), batch.sparse[key].lengths())


def test_ranks_count_the_same_batches_to_the_end_of_the_stream(log):
    stream = a_stream(log, 45, epochs=2)

    parts = [list(training_parts(stream, rank(number, 4), start=0)) for number in range(4)]

    assert {len(of_rank) for of_rank in parts} == {stream.batch_count}
    assert sum(part.examples for part in itertools.chain(*parts)) == stream.examples


def test_evaluation_is_shared_among_ranks_too(log):
    rows = torch.arange(70).numpy()

    parts = [
        list(evaluation_parts(Batches(log, 2), rows, 32, rank(number, 3))) for number in range(3)
    ]

    assert [[part.examples for part in of_rank] for of_rank in parts] == [
        [11, 11, 2],
        [11, 11, 2],
        [10, 10, 2],
    ]


def test_what_fills_a_part_up_reads_no_row(log):
    batch = Batches(log, 2).of_same_rows(torch.arange(5).numpy())

    full = filled(batch, 8)

    assert full.examples == 8
    assert torch.equal(full.labels[:, :5], batch.labels)
    assert not full.dense[:, 5:].any()
    keys = batch.sparse.keys()
    for key in keys:
        assert torch.equal(full.sparse[key].values(), batch.sparse[key].values())
        assert full.sparse[key].lengths()[5:].tolist() == [0, 0, 0]
