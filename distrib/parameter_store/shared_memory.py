"""A whole arm in shared memory: rows, towers, optimizer state and a journal."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig

from distrib.parameter_store.layout import (
    Layout,
    fill_arm,
    layout_of,
    pack_dense,
    parameters_of,
    refuse_buffers,
    unpack_dense,
)
from distrib.parameter_store.parameters import Parameters, tensor_of
from distrib.parameter_store.shared_journal import Journal
from distrib.parameter_store.shared_segment import SHARED_MEMORY, Address, Field, Plan, Segment
from distrib.parameter_store.shared_tables import SharedTables
from distrib.training.step import dense_optimizer
from distrib.training.windows import Windows
from recsys.config import OptimizerConfig
from recsys.errors import ConfigError
from recsys.module import Arm

_WEIGHTS, _ACCUMULATORS = "weights", "accumulators"


def plan_of(
    shape: Arm, optimizer: OptimizerConfig, windows: Windows, *, workers: int, tallies: int
) -> Plan:
    """Return what an arm of one replica and the journal of its training take in shared memory.

    Args:
        shape: the arm; its tables need no memory.
        optimizer: an additive one.
        windows: of the stream.
        workers: how many places there are.
        tallies: numbers that a worker writes down for each window.

    Raises:
        ConfigError: the arm's dense part has other parameters than float32, or state that no
            optimiser updates.
    """
    refuse_buffers(shape.dense)
    for name, weight in shape.dense.named_parameters():
        if weight.dtype != torch.float32:
            raise ConfigError(
                f"model: found {name} of {weight.dtype}, expected torch.float32 in shared memory"
            )
    parts = (_WEIGHTS,) if optimizer.dense == "sgd" else (_WEIGHTS, _ACCUMULATORS)
    return Plan(
        (
            *SharedTables.fields(shape.tables, optimizer),
            *(
                Field(name=f"dense/{name}/{part}", dtype="<f4", shape=tuple(weight.shape))
                for name, weight in shape.dense.named_parameters()
                for part in parts
            ),
            *Journal.fields(windows, workers, tallies),
        )
    )


class SharedMemory:
    """An arm's parameters in a segment, for the process that made it and for those that attach."""

    def __init__(self, segment: Segment, optimizer: OptimizerConfig, windows: Windows) -> None:
        self._segment = segment
        self._optimizer = optimizer
        self.journal = Journal(segment, windows)

    @classmethod
    def create(
        cls,
        plan: Plan,
        run: str,
        optimizer: OptimizerConfig,
        windows: Windows,
        directory: Path = SHARED_MEMORY,
    ) -> SharedMemory:
        """Take the memory of a plan.

        Raises:
            ConfigError: there is not enough.
        """
        return cls(Segment.create(plan, run, directory), optimizer, windows)

    @classmethod
    def attach(
        cls, address: Address, plan: Plan, optimizer: OptimizerConfig, windows: Windows
    ) -> SharedMemory:
        """Map what another process made.

        Raises:
            TrialFailed: it is not there, or is another's.
        """
        return cls(Segment.attach(address, plan), optimizer, windows)

    @property
    def address(self) -> Address:
        return self._segment.address

    def tables(self, tables: list[EmbeddingBagConfig]) -> SharedTables:
        """Return an arm's tables as they are in shared memory."""
        return SharedTables(tables, self._optimizer, self._segment)

    def fill_dense(self, arm: Arm) -> None:
        """Copy an arm's towers to shared memory, where their optimiser has done nothing yet."""
        for name, weight in arm.dense.named_parameters():
            self._dense(name, _WEIGHTS).copy_(weight.detach())

    def share_dense(self, arm: Arm) -> torch.optim.Optimizer:
        """Give an arm the towers in shared memory; return their optimiser, its state there too."""
        for name, weight in arm.dense.named_parameters():
            weight.data = self._dense(name, _WEIGHTS)
        optimizer = dense_optimizer(arm.dense, self._optimizer)
        if self._optimizer.dense != "sgd":
            for name, weight in arm.dense.named_parameters():
                optimizer.state[weight]["sum"] = self._dense(name, _ACCUMULATORS)
        return optimizer

    def parameters(self, arm: Arm) -> Parameters:
        """Return a copy of the weights and accumulators of an arm that lives here."""
        layout = self._layout(arm)
        found = parameters_of(arm, layout, 0)
        for slab, records in zip(layout.slabs, found.slabs, strict=True):
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                rows = self._accumulators(arm, table)
                if rows is not None:
                    records[first : first + len(rows), slab.width :] = rows.numpy()
        if layout.dense_parts == 2:
            found.dense[1] = pack_dense(self._sums(arm), 1)[0].numpy()
        return found

    @torch.no_grad()
    def load(self, arm: Arm, parameters: Parameters) -> None:
        """Copy weights and accumulators, as ``parameters`` returned them, into an arm here."""
        layout = self._layout(arm)
        fill_arm(arm, layout, [parameters])
        for slab, records in zip(layout.slabs, parameters.slabs, strict=True):
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                rows = self._accumulators(arm, table)
                if rows is not None:
                    rows.copy_(tensor_of(records[first : first + len(rows), slab.width :]))
        if layout.dense_parts == 2:
            unpack_dense(tensor_of(parameters.dense[1:]), self._sums(arm))

    def close(self) -> None:
        """Let nobody attach any more; the memory goes with the last array that is used."""
        self._segment.close()

    def _layout(self, arm: Arm) -> Layout:
        return layout_of(arm.tables, arm.dense, 1, self._optimizer)

    def _accumulators(self, arm: Arm, table: int) -> Tensor | None:
        """Return those of a table by its position, None for an optimiser without any."""
        return arm.embeddings.accumulators.get(arm.tables[table].name)

    def _sums(self, arm: Arm) -> list[Tensor]:
        return [self._dense(name, _ACCUMULATORS) for name, _ in arm.dense.named_parameters()]

    def _dense(self, name: str, part: str) -> Tensor:
        return tensor_of(self._segment.array(f"dense/{name}/{part}"))
