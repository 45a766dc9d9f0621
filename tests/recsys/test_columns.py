"""Columns of some tables out of all, in any order, on any device."""

from __future__ import annotations

import torch
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from recsys.embeddings import Columns

TABLES = [
    EmbeddingBagConfig(name=name, num_embeddings=3, embedding_dim=2, feature_names=[name])
    for name in ("first", "second", "third")
]
CPU, META = torch.device("cpu"), torch.device("meta")
VALUES = torch.arange(6.0)[None]


def test_columns_come_in_the_order_of_the_names():
    assert Columns(TABLES, ["third", "first"])(VALUES).tolist() == [[4, 5, 0, 1]]


def test_columns_are_found_where_they_were_put():
    picked = Columns(TABLES, ["first", "second"])

    picked.rearranged([2, 3, 0, 1, 4, 5], CPU)

    assert picked(VALUES).tolist() == [[2, 3, 0, 1]]


def test_an_index_that_a_new_order_asks_for_is_made_on_the_device_of_what_it_picks_from():
    picked = Columns(TABLES, ["first", "second"])  # in one piece: no index yet

    picked.rearranged([2, 3, 0, 1, 4, 5], META)

    assert picked(VALUES.to(META)).device == META
    assert picked.index is not None
    assert picked.index.device == META
