"""Models as users write them, named in a configuration as ``tests.support.custom_model:small``."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchrec.models.dlrm import DLRM
from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedTensor

from distrib.trials import results
from recsys.activations import get_activation
from recsys.data.schema import Schema


class TwoPart(nn.Module):
    """The form that Soloist asks for."""

    def __init__(self, embeddings: EmbeddingBagCollection, dense: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.dense = dense


class SideBySide(nn.Module):
    """Any network over all features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Tensor:
        return self.network(torch.cat((dense, embedded.values()), 1))


def small(schema: Schema, *, embedding_dim: int = 4, hidden: int = 6) -> TwoPart:
    """A plain network whose ``nn.ReLU`` is replaced by the arm's activation."""
    width = len(schema.dense) + embedding_dim * len(schema.sparse)
    network = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
    return TwoPart(_a_table_each(schema, embedding_dim), SideBySide(network))


def torchrec_dlrm(schema: Schema, *, embedding_dim: int = 4, heads: int = 1) -> TwoPart:
    """TorchRec's own DLRM, taken apart into its tables and what comes after them."""
    dlrm = DLRM(
        _a_table_each(schema, embedding_dim),
        dense_in_features=len(schema.dense),
        dense_arch_layer_sizes=[6, embedding_dim],
        over_arch_layer_sizes=[6, heads],
    )
    return TwoPart(dlrm.sparse_arch.embedding_bag_collection, AfterTables(dlrm))


class AfterTables(nn.Module):
    """A TorchRec DLRM without its tables."""

    def __init__(self, dlrm: DLRM) -> None:
        super().__init__()
        self.shape = (-1, dlrm.sparse_arch.F, dlrm.sparse_arch.D)
        self.dense_arch = dlrm.dense_arch
        self.inter_arch = dlrm.inter_arch
        self.over_arch = dlrm.over_arch

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Tensor:
        vectors = embedded.values().reshape(self.shape)
        return self.over_arch(self.inter_arch(self.dense_arch(dense), vectors))


def uneven(schema: Schema, *, activation: str, heads: int = 1) -> TwoPart:
    """Tables of several widths and poolings, one read by two features, a feature read by two.

    Statistics of the batch are among the state, and a bias is tied to two layers.
    """
    first, second, third = (feature.name for feature in schema.single_valued)
    (bag,) = (feature.name for feature in schema.multi_valued)
    rows = {feature.name: feature.cardinality for feature in schema.sparse}
    embeddings = EmbeddingBagCollection(
        tables=[
            _table("pair", max(rows[first], rows[second]), 4, [first, second], PoolingType.SUM),
            _table("bag_mean", rows[bag], 8, [bag], PoolingType.MEAN),
            _table("bag_sum", rows[bag], 4, [bag], PoolingType.SUM),
            _table("third", rows[third], 12, [third], PoolingType.MEAN),
        ]
    )
    return TwoPart(
        embeddings, Uneven(len(schema.dense), first, second, third, bag, activation, heads)
    )


class Uneven(nn.Module):
    """Asks for its embeddings by name, and by a name that tells the table where two read one."""

    def __init__(
        self,
        dense: int,
        first: str,
        second: str,
        third: str,
        bag: str,
        activation: str,
        heads: int,
    ) -> None:
        super().__init__()
        self.names = [third, f"{bag}@bag_sum", first, f"{bag}@bag_mean", second]
        self.norm = nn.BatchNorm1d(dense)
        self.hidden = nn.Linear(dense + 12 + 4 + 4 + 8 + 4, 6)
        self.gate = nn.Linear(dense, 6)
        self.gate.bias = self.hidden.bias
        self.activation = get_activation(activation)
        self.out = nn.Linear(6, heads)

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Tensor:
        dense = self.norm(dense)
        features = torch.cat([dense, *(embedded[name] for name in self.names)], 1)
        logits = self.out(self.activation(self.hidden(features)) * self.gate(dense))
        return logits.squeeze(1) if logits.shape[1] == 1 else logits


def two_poolings(schema: Schema, *, heads: int = 1) -> TwoPart:
    """Reads a multi-valued feature through a table that adds up and one that averages."""
    (bag,) = (feature.name for feature in schema.multi_valued)
    rows = schema.multi_valued[0].cardinality
    embeddings = EmbeddingBagCollection(
        tables=[
            _table("bag_sum", rows, 4, [bag], PoolingType.SUM),
            _table("bag_mean", rows, 4, [bag], PoolingType.MEAN),
        ]
    )
    width = len(schema.dense) + 8
    network = nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, heads))
    return TwoPart(embeddings, SideBySide(network))


def signed(schema: Schema, *, place: str) -> TwoPart:
    """A plain network; each process that makes it leaves its number in a folder."""
    Path(place, str(os.getpid())).touch()
    return small(schema)


def doomed(schema: Schema, *, place: str, times: int, signal_number: int) -> TwoPart:
    """Sends its process a signal in the middle of training, so many times in all.

    Of each time a file is left in a folder: ``end_0``, ``end_1``, …, with the process's number.
    """
    width = len(schema.dense) + 4 * len(schema.sparse)
    ends = [Path(place, f"end_{time}") for time in range(times)]
    return TwoPart(_a_table_each(schema, 4), SideBySide(Doomed(width, ends, signal_number)))


class Doomed(nn.Module):
    """A network that counts its batches; those that it is tried out with are fewer."""

    def __init__(self, width: int, ends: list[Path], signal_number: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 1))
        self.ends = ends
        self.signal_number = signal_number
        self.batches = 0

    def forward(self, features: Tensor) -> Tensor:
        self.batches += 1
        left = [end for end in self.ends if not end.exists()]
        if self.batches == 20 and left:
            left[0].write_text(str(os.getpid()))
            os.kill(os.getpid(), self.signal_number)
        return self.network(features)


def gated(schema: Schema, *, gate: str, waits_at: int) -> TwoPart:
    """A plain network that waits, in one of its batches, until there is a file ``gate``."""
    made = small(schema)
    return TwoPart(made.embeddings, Gated(made.dense, Path(gate), waits_at))


class Gated(nn.Module):
    """Counts the batches of a network; those that it is tried out with are few."""

    def __init__(self, network: nn.Module, gate: Path, waits_at: int) -> None:
        super().__init__()
        self.network = network
        self.gate = gate
        self.waits_at = waits_at
        self.batches = 0

    def forward(self, dense: Tensor, embedded: KeyedTensor) -> Tensor:
        self.batches += 1
        while self.batches == self.waits_at and not self.gate.exists():
            time.sleep(0.05)
        return self.network(dense, embedded)


def on_a_full_disk(schema: Schema, *, full: str) -> TwoPart:
    """A plain network whose trial finds no space for a file while there is a file ``full``.

    Its process is its own, as those of all users' models are.
    """
    write_json = results._write_json

    def write(path: Path, value: object) -> None:
        if path.name == "metrics.json" and Path(full).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_json(path, value)

    results._write_json = write
    return small(schema)


def mortal(schema: Schema, *, place: str) -> TwoPart:
    """Once, in its 12th batch on the last rank, waits for its fate and kills its process.

    Of the files in ``place``, ``fate`` is waited for and ``died`` is left; where that is there,
    it has died already.
    """
    width = len(schema.dense) + 4 * len(schema.sparse)
    return TwoPart(_a_table_each(schema, 4), SideBySide(Mortal(width, Path(place))))


class Mortal(nn.Module):
    """A network that counts its batches."""

    def __init__(self, width: int, place: Path) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 1))
        self.fate, self.died = place / "fate", place / "died"
        self.batches = 0

    def forward(self, features: Tensor) -> Tensor:
        if dist.is_initialized() and not self.died.exists():
            self.batches += 1
            if self.batches == 12 and dist.get_rank() == dist.get_world_size() - 1:
                self._die()
        return self.network(features)

    def _die(self) -> None:
        while not self.fate.exists():
            time.sleep(0.05)
            if self.died.exists():
                return
        self.died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def moody(schema: Schema, *, heads: int = 1) -> TwoPart:
    """Looks at its input to decide what to do: no ``vmap`` can batch that."""
    width = len(schema.dense) + 4 * len(schema.sparse)
    return TwoPart(_a_table_each(schema, 4), SideBySide(Moody(width, heads)))


class Moody(nn.Module):
    """One of two networks, by the sign of a sum."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.up = nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, heads))
        self.down = nn.Linear(width, heads)

    def forward(self, features: Tensor) -> Tensor:
        return self.up(features) if features.sum() > 0 else self.down(features)


def picky(schema: Schema) -> TwoPart:
    """Reads a number out of a tensor, which no ``vmap`` allows."""
    width = len(schema.dense) + 4 * len(schema.sparse)
    return TwoPart(_a_table_each(schema, 4), SideBySide(Picky(width)))


class Picky(nn.Module):
    """An affine map of features scaled by the largest of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(features / (1 + features.abs().max().item()))


def forgetful(schema: Schema, *, heads: int = 1) -> TwoPart:
    """Drops hidden units at random while it trains."""
    width = len(schema.dense) + 4 * len(schema.sparse)
    network = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, heads))
    return TwoPart(_a_table_each(schema, 4), SideBySide(network))


def _a_table_each(schema: Schema, embedding_dim: int) -> EmbeddingBagCollection:
    return EmbeddingBagCollection(
        tables=[
            _table(f.name, f.cardinality, embedding_dim, [f.name], PoolingType.MEAN)
            for f in schema.sparse
        ]
    )


def _table(
    name: str, rows: int, width: int, features: list[str], pooling: PoolingType
) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(
        name=name,
        num_embeddings=rows,
        embedding_dim=width,
        feature_names=features,
        pooling=pooling,
    )
