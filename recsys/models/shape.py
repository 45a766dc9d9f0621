"""The sizes of a component's dense part that the schema and the arm decide."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a built-in model is built from, besides its own options and its initial weights."""

    sparse_features: int
    dense_features: int
    embedding_dim: int
    heads: int
    activation: str
