"""The sizes of a component's dense part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a model is built from, besides its initial weights."""

    sparse_features: int
    dense_features: int
    embedding_dim: int
    hidden: tuple[int, ...]
    bottom: tuple[int, ...]
    heads: int
    activation: str
    layer_norm: bool
