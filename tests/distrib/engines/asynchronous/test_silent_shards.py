"""A shard that answers no more is found out, whether it died or hangs: without Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from distrib.engines.asynchronous import stores as module
from distrib.engines.asynchronous.rpc import ANSWER_S, ServersLost
from distrib.engines.asynchronous.stores import ResumePoint, ServerStore
from recsys.engines import AsyncEngine

LEASE_S = 5.0
START = ResumePoint(applied=frozenset(), seen=None, leases=0)


@dataclass
class Shard:
    """Its every call, asked for remotely, is its reply."""

    hangs: bool = False
    limits: list[float | None] = field(default_factory=list)

    def __getattr__(self, call: str) -> Any:
        return self

    def remote(self, *arguments: object) -> Shard:
        return self


@dataclass
class Ray:
    """Ray and its clock, with two shards."""

    now: float = 0.0
    shards: list[Shard] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def remote(self, kind: type) -> Ray:
        return self

    def options(self, **named: object) -> Any:
        def start(*arguments: object) -> Shard:
            self.shards.append(Shard())
            return self.shards[-1]

        return type("Starting", (), {"remote": staticmethod(start)})

    def wait(self, signs: list[Shard], **_: object) -> tuple[list[Shard], list[Shard]]:
        return [each for each in signs if not each.hangs], []

    def answer(self, reply: Shard, limit_s: float = ANSWER_S) -> str:
        reply.limits.append(limit_s)
        return "answer"


@pytest.fixture
def ray(monkeypatch) -> Ray:
    ray = Ray()
    monkeypatch.setattr(module, "ray", ray)
    monkeypatch.setattr(module, "time", ray)
    monkeypatch.setattr(module, "answer", ray.answer)
    return ray


@pytest.fixture
def store(ray) -> ServerStore:
    store = ServerStore(None, None, AsyncEngine(lease_s=LEASE_S, shards=2))
    store.restore(START, [None, None])
    store.serve(None, lambda part: {"name": part})
    return store


def test_a_shard_that_hangs_is_taken_for_lost(ray, store) -> None:
    store.check()
    ray.shards[1].hangs = True
    ray.now += 4 * LEASE_S
    store.check()

    ray.now += 0.1
    with pytest.raises(ServersLost, match="shard 1 sends no heartbeat"):
        store.check()


def test_shards_that_answer_now_and_then_are_not(ray, store) -> None:
    for turn in range(6):
        ray.shards[0].hangs = turn % 2 == 1
        store.check()
        ray.now += 3 * LEASE_S

    assert ray.now > 4 * LEASE_S


def test_a_shard_that_loads_its_part_has_longer(ray, store) -> None:
    ray.shards[0].hangs = True
    ray.now += ANSWER_S
    store.check()

    ray.now += 0.1
    with pytest.raises(ServersLost, match="shard 0"):
        store.check()


def test_a_snapshot_may_take_longer_than_other_answers_but_not_for_ever(ray, store) -> None:
    store.write("root", "name")
    store.order()

    for shard in ray.shards:
        (written, ordered) = shard.limits
        assert ordered == ANSWER_S < written < float("inf")
