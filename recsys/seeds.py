"""All random generators, derived from named seeds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
import torch


class Source(StrEnum):
    """A source of difference between two trainings of one model."""

    INIT = "init"
    SHUFFLE = "shuffle"
    ASYNC = "async"
    ARITHMETIC = "arithmetic"
    COMPONENTS = "components"


@dataclass(frozen=True, kw_only=True, slots=True)
class Seeds:
    """One seed for each source. Equal seeds and recipe give the same training.

    ``arithmetic`` permutes the examples inside each mini-batch, which changes only the order of
    floating-point sums. 0 keeps the stream order.
    """

    init: int = 0
    shuffle: int = 0
    asynchrony: int = 0
    arithmetic: int = 0
    components: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid seed."""
        for name, seed in asdict(self).items():
            if type(seed) is not int or seed < 0:
                raise ValueError(f"seed {name}: found {seed!r}, expected an integer of at least 0")


def replica_seeds(base: int, vary: tuple[Source, ...], replica: int) -> Seeds:
    """Return the seeds of one replica: a varied source gets ``base + replica``, others ``base``.

    ``arithmetic`` starts from 0, its neutral value, whatever the base.
    """

    def seed(source: Source) -> int:
        return base + (replica if source in vary else 0)

    return Seeds(
        init=seed(Source.INIT),
        shuffle=seed(Source.SHUFFLE),
        asynchrony=seed(Source.ASYNC),
        arithmetic=replica if Source.ARITHMETIC in vary else 0,
        components=seed(Source.COMPONENTS),
    )


def derive(*path: int | str) -> int:
    """Return a 63-bit seed for a path such as ``(seeds.init, "tower", 2)``.

    Distinct paths give independent seeds; the same path gives the same seed on every platform.
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(*path: int | str) -> np.random.Generator:
    """Return a NumPy generator for a path of names and seeds."""
    return np.random.Generator(np.random.Philox(derive(*path)))


def torch_generator(*path: int | str) -> torch.Generator:
    """Return a torch CPU generator for a path of names and seeds."""
    return torch.Generator().manual_seed(derive(*path))


@contextmanager
def global_draws(*path: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generators, of the CPU and of ``device``, inside the block.

    Afterwards their previous states are restored.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        # torch.manual_seed would also seed devices that are not forked.
        torch.default_generator.manual_seed(derive(*path))
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(derive(*path))
        yield


def component_path(seeds: Seeds, group: str, component: int) -> tuple[int | str, ...]:
    """Return the seed path of a component. Component 0 starts as a single model would."""
    if component == 0:
        return (seeds.init, group)
    return (seeds.init, group, seeds.components, component)
