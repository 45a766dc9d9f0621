"""Requests made of the examples of a click log."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.embeddings import feature_key
from recsys.serving.loader import Bag


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a served model is asked about B examples."""

    dense: Tensor
    """float32 ``(B, D)``"""
    sparse: dict[str, Tensor | Bag]
    """By feature, as ``recsys.serving.loader.ServedModel`` takes it"""


def request_of(batch: Batch, schema: Schema) -> Request:
    """Return the first replica's examples of a batch as a request."""
    sparse: dict[str, Tensor | Bag] = {}
    for feature in schema.sparse:
        bags = batch.sparse[feature_key(0, feature.name)]
        ids, lengths = bags.values().long(), bags.lengths().long()
        starts = lengths.cumsum(0) - lengths
        sparse[feature.name] = (ids, starts) if feature.multi_valued else ids
    return Request(dense=batch.dense[0], sparse=sparse)
