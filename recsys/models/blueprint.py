"""The interface of a component, built-in or custom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a built-in model is built from, besides its options and initial weights."""

    sparse_features: int
    dense_features: int
    embedding_dim: int
    heads: int
    activation: str


SeedPath = tuple[int | str, ...]
"""Where a component's randomness comes from (``recsys.seeds.component_path``)."""


class Blueprint(Protocol):
    """One component of a group of towers: its tables and its dense part.

    All components of a group share a blueprint and differ in their seeds.
    """

    @property
    def tables(self) -> Sequence[EmbeddingBagConfig]:
        """The tables of one set, named within the set, for features named as in the schema."""
        ...

    def initial_rows(self, path: SeedPath) -> Iterator[tuple[str, Tensor]]:
        """Yield the initial rows of one set's tables by name, ``(rows, embedding_dim)`` on the CPU.

        One table at a time, because all together may exceed the memory.
        """
        ...

    def towers(self, paths: Sequence[SeedPath]) -> nn.Module:
        """Return n dense parts in one module, tower i initialised from ``paths[i]``.

        Inputs are dense features ``(n, B, D)`` and the concatenated pooled rows ``(n, B, C)``, in
        the order of ``tables`` and of each table's features; output is logits ``(n, B, heads)``.
        The first dimension of every tensor in its ``state_dict`` is n.
        """
        ...
