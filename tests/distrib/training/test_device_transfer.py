"""Copies to a device and back: nothing on the CPU, whole and in order on a GPU."""

from __future__ import annotations

import torch

from distrib.training.device_transfer import Transfer
from recsys.data.stream import Stream
from tests.support.devices import needs_gpu
from tests.support.logs import small_log, small_recipe, trials

CPU = torch.device("cpu")
LARGE = 1 << 24


def test_on_the_cpu_nothing_is_copied() -> None:
    transfer = Transfer(CPU)
    tensors = [torch.arange(3), torch.zeros(0)]

    there = transfer.take(transfer.send(tensors))
    here = transfer.fetch(there).wait()

    assert all(a is b for a, b in zip(here, tensors, strict=True))
    assert not transfer.runs_ahead


@needs_gpu
def test_what_was_sent_and_fetched_is_what_was_there() -> None:
    transfer = Transfer(torch.device("cuda"))
    tensors = [torch.rand(LARGE), torch.zeros(0), torch.arange(5, dtype=torch.int32)]

    # Many rounds: memory that was given out again too early would show.
    for _ in range(20):
        there = transfer.take(transfer.send(tensors))
        fetched = transfer.fetch([each + 1 for each in there])
        del there
        for found, sent in zip(fetched.wait(), tensors, strict=True):
            assert torch.equal(found, sent + 1)


@needs_gpu
def test_a_batch_arrives_whole(tmp_path) -> None:
    log = small_log(tmp_path)
    (trial,) = trials(log, small_recipe(), 1)
    batches = list(Stream(log, "train", trial.recipe.stream, [trial.seeds]).batches(0, 3))
    transfer = Transfer(torch.device("cuda"))

    arrived = transfer.take(transfer.send(batches))

    for sent, found in zip(batches, arrived, strict=True):
        assert torch.equal(found.labels.cpu(), sent.labels)
        assert torch.equal(found.dense.cpu(), sent.dense)
        assert torch.equal(found.sparse.values().cpu(), sent.sparse.values())
        assert torch.equal(found.sparse.lengths().cpu(), sent.sparse.lengths())
        assert found.sparse.length_per_key() == sent.sparse.length_per_key()
