"""What a component is made of, whoever wrote its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a built-in model is built from, besides its own options and its initial weights."""

    sparse_features: int
    dense_features: int
    embedding_dim: int
    heads: int
    activation: str


SeedPath = tuple[int | str, ...]
"""Where a component's randomness comes from (``recsys.seeds.component_path``)."""


class Blueprint(Protocol):
    """One component of a group of towers: the tables that it reads, and its dense part.

    All components of a group have one blueprint; they differ in the seeds that they start from.
    """

    @property
    def tables(self) -> Sequence[EmbeddingBagConfig]:
        """The tables of one set, named within the set, reading features named as in the schema."""
        ...

    def initial_rows(self, path: SeedPath) -> Iterator[tuple[str, Tensor]]:
        """Yield the tables of one set by name as they start, ``(rows, embedding_dim)`` on the CPU.

        One after another: all of them together may be more than a process has room for.
        """
        ...

    def towers(self, paths: Sequence[SeedPath]) -> nn.Module:
        """Return n dense parts in one module, tower i started from ``paths[i]``.

        It takes dense features ``(n, B, D)`` and the pooled rows of the tables side by side
        ``(n, B, C)``, in the order of ``tables`` and of each table's features; it returns logits
        ``(n, B, heads)``. The first dimension of everything in its ``state_dict`` is n.
        """
        ...
