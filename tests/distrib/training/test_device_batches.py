"""A device is fed with the batches of the stream, in order; on the CPU nothing is made ahead."""

from __future__ import annotations

import threading

import pytest
import torch

from distrib.training.device_transfer import device_batches
from recsys.data.stream import Stream
from tests.support.devices import needs_gpu
from tests.support.logs import small_log, small_recipe, trials

CPU = torch.device("cpu")
AHEAD = torch.device("meta")  # no CPU, so that it is fed by a thread; nothing is copied there


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    log = small_log(tmp_path_factory.mktemp("feed"))
    (trial,) = trials(log, small_recipe(), 1)
    return list(Stream(log, "train", trial.recipe.stream, [trial.seeds]).batches())


def counted(batches, made):
    for batch in batches:
        made.append(batch)
        yield batch


def test_on_the_cpu_a_batch_is_made_when_it_is_asked_for(batches):
    made = []

    with device_batches(counted(batches, made), CPU) as feed:
        first = next(feed)

    assert len(made) == 1
    assert first.batch is first.on_host is batches[0]


def test_a_device_gets_every_batch_in_order_from_a_thread_that_ends(batches):
    with device_batches(batches, AHEAD) as feed:
        assert "prefetch" in {thread.name for thread in threading.enumerate()}
        found = [fed.on_host for fed in feed]

    assert len(found) == len(batches)
    assert all(one is other for one, other in zip(found, batches, strict=True))
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


@needs_gpu
def test_what_a_gpu_is_fed_with_is_what_lies_on_the_host(batches):
    with device_batches(batches, torch.device("cuda")) as feed:
        for fed in feed:
            assert torch.equal(fed.batch.labels.cpu(), fed.on_host.labels)
            assert torch.equal(fed.batch.sparse.values().cpu(), fed.on_host.sparse.values())
