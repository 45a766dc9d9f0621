"""A phase's arm over all ranks: sharded tables, replicated towers, the optimizers of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    SplitTableBatchedEmbeddingBagsCodegen,
)
from torch import Tensor, nn
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import (
    DefaultDataParallelWrapper,
    DistributedModelParallel,
)
from torchrec.distributed.types import ShardingEnv, ShardingPlan
from torchrec.modules.embedding_configs import PoolingType
from torchrec.modules.embedding_modules import (
    EmbeddingBagCollection,
    get_embedding_names_by_table,
)

from distrib.engines.synchronous.sharding_plan import (
    refuse_sharding,
    sharding_kinds,
    sharding_plan,
    suppress_warnings,
)
from distrib.engines.synchronous.step import Head, RankGroup, Run, Step, evaluation_parts
from distrib.training.step import dense_optimizer, shape_of_phase
from recsys.arms import Phase
from recsys.config import Recipe
from recsys.data.schema import Schema
from recsys.data.stream import Batches, part
from recsys.embeddings import feature_key, table_name, table_optimizer
from recsys.engines import SyncEngine
from recsys.models.built_in import Stacked
from recsys.models.config import CustomModelConfig
from recsys.module import Arm
from recsys.seeds import Seeds, component_path

Distributed = ShardedTensor | Tensor
"""In parts, each on one rank; or a plain tensor, of which every rank has a copy."""


Place = tuple[slice, ...]


@torch.no_grad()
def fill(target: Distributed, whole: Tensor) -> None:
    """Copy this rank's shards of a tensor from the full tensor."""
    for index, piece in local_parts(target):
        piece.copy_(whole[index])


@torch.no_grad()
def whole(source: Distributed) -> Tensor:
    """Return the full tensor on every rank; a collective operation."""
    if not isinstance(source, ShardedTensor):
        return source.detach().clone()
    device = dist.distributed_c10d._get_pg_default_device()
    found = torch.zeros(source.size(), dtype=source.dtype, device=device)
    for index, piece in local_parts(source):
        found[index] = piece
    dist.all_reduce(found)  # every element is on one rank, and 0 on the others
    return found


def local_parts(source: Distributed) -> list[tuple[Place, Tensor]]:
    """Return this rank's shards: offsets in the full tensor, and the memory of each."""
    if not isinstance(source, ShardedTensor):
        return [((slice(None),) * source.dim(), source.detach())]
    parts = []
    for shard in source.local_shards():
        spans = zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes, strict=True)
        parts.append((tuple(slice(first, first + size) for first, size in spans), shard.tensor))
    return parts


_MOMENTS = {
    "rowwise_adagrad": {"momentum1": "sum"},
    "adagrad": {"momentum1": "sum"},
    "adam": {"momentum1": "exp_avg", "momentum2": "exp_avg_sq"},
    "sgd": {},
}
"""FBGEMM's names of an optimiser's state to PyTorch's, under which both are kept"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A sharded table, with its optimizer state, which is sharded alike."""

    weight: Distributed
    """``(rows, columns)``"""
    state: Mapping[str, Distributed]
    """Each ``(rows, columns)`` or ``(rows,)``; none where no part of the table is here"""


class ShardedArm:
    """One phase's arm on this rank, initialised from seeds or from the previous phase.

    Raises:
        ConfigError: the sharding is impossible.
    """

    def __init__(
        self, recipe: Recipe, schema: Schema, seeds: Sequence[Seeds], phase: Phase, ranks: RankGroup
    ) -> None:
        assert isinstance(recipe.engine, SyncEngine)
        self.recipe = recipe
        self.ranks = ranks
        self.arm = shape_of_phase(recipe, schema, seeds, phase.groups)
        for module in self.arm.dense.modules():
            if isinstance(module, Stacked) and not ranks.is_first:
                module.draw_apart("rank", ranks.rank)
        kinds = sharding_kinds(recipe.engine, self.arm.tables)
        refuse_sharding(kinds, self.arm.tables, recipe.optimizer, ranks.device)
        plan = sharding_plan(
            self.arm.tables,
            kinds,
            recipe.optimizer,
            device=ranks.device,
            ranks=ranks.count,
            ranks_per_node=ranks.per_node,
            batch_size=-(-recipe.stream.batch_size // ranks.count),
        )
        by_rows = {name for name, each in plan.items() if each.sharding_type == "row_wise"}
        collection = _collection(self.arm, recipe, by_rows)
        self.head = _head(self.arm, recipe, phase, ranks, by_rows)
        with suppress_warnings():
            self.model = _distributed(Step(collection, self.head), plan, recipe, ranks)
        self._replicated = {
            name for name, sharding in plan.items() if sharding.sharding_type == "data_parallel"
        }
        self.optimizer = Optimizers(self.head, self._optimizers())
        self.tables = self._tables()
        self._initialise()

    def load_previous_phase(self, before: ShardedArm) -> None:
        """Copy the weights of the previous phase's groups."""
        for name, table in before.tables.items():
            fill(self.tables[name].weight, whole(table.weight))
        towers = self.arm.dense.towers
        for group, trained in before.arm.dense.towers.items():
            towers[group].load_state_dict(trained.state_dict())

    @torch.no_grad()
    def average_buffers(self) -> None:
        """Average buffers, such as batch-norm statistics, over ranks."""
        parameters = dict(self.arm.dense.named_parameters())
        for name, value in self.arm.dense.state_dict().items():
            if name not in parameters and value.is_floating_point():
                dist.all_reduce(value)
                value.div_(self.ranks.count)

    def tower_states(self) -> dict[str, dict[str, Tensor]]:
        """Return the towers' optimizer state of each parameter."""
        kept = self.optimizer.each[0].state
        return {
            name: {key: value for key, value in kept[one].items() if isinstance(value, Tensor)}
            for name, one in self.arm.dense.named_parameters()
            if one in kept
        }

    def prepare_optimizers(self) -> None:
        """Create all optimizer state, for loading."""
        for one in self.optimizer.each:
            parameters = [each for group in one.param_groups for each in group["params"]]
            for each in parameters:
                each.grad = torch.zeros_like(each)
            one.step()  # by nothing, as nothing is known yet
            one.zero_grad(set_to_none=True)

    def reset_states(self, towers: Set[str]) -> None:
        """Delete the optimizer state of some towers' parameters."""
        for name, one in self.arm.dense.named_parameters():
            if name in towers:
                self.optimizer.each[0].state.pop(one, None)

    def at_batch(self, number: int) -> None:
        """Set the step count of FBGEMM's optimizers, which Adam needs."""
        for module in self.model.modules():
            if isinstance(module, SplitTableBatchedEmbeddingBagsCodegen):
                module.set_optimizer_step(number)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers that step after the backward pass (not FBGEMM's)."""
        optimizers = [dense_optimizer(self.arm.dense, self.recipe.optimizer)]
        if self._replicated:
            # DDP averages their gradients, and nobody else applies the tables' optimiser to them.
            kind, settings = table_optimizer(self.recipe.optimizer)
            self._of_replicated = kind(self._replicated_weights().values(), **settings)
            optimizers.append(self._of_replicated)
        return optimizers

    def _replicated_weights(self) -> dict[str, nn.Parameter]:
        bags = self.model.module.embeddings.embedding_bags
        return {name: bags[name].weight for name in self.arm_order() if name in self._replicated}

    def arm_order(self) -> list[str]:
        """Return the tables' names, in the arm's order."""
        return [table.name for table in self.arm.tables]

    def _tables(self) -> dict[str, Table]:
        weights = self.model.module.embeddings.state_dict()
        fused = _fused_states(self.model)
        moments = _MOMENTS[self.recipe.optimizer.sparse]
        tables = {}
        for name in self.arm_order():
            state: dict[str, Distributed]
            if name in self._replicated:
                kept = self._of_replicated.state[self._replicated_weights()[name]]
                state = {moment: _rowwise(kept[moment]) for moment in moments.values()}
            else:
                here = fused.get(name, {})
                state = {moments[ours]: value for ours, value in here.items()}
            tables[name] = Table(weight=weights[f"embedding_bags.{name}.weight"], state=state)
        return tables

    def _initialise(self) -> None:
        arm = self.arm
        for group in arm.groups:
            blueprint = arm.blueprints[group.name]
            for replica, seeds in enumerate(arm.seeds):
                for table_set in range(group.table_sets):
                    path = component_path(seeds, group.name, table_set)
                    for short, rows in blueprint.initial_rows(path):
                        name = table_name(replica, group.name, table_set, short)
                        fill(self.tables[name].weight, rows)


class Optimizers:
    """Several optimizers as one, as TorchRec's pipelines expect."""

    def __init__(self, head: Head, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._head = head
        self.each = tuple(optimizers)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for one in self.each:
            one.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        self._head.unscale()
        for one in self.each:
            one.step()


def _collection(arm: Arm, recipe: Recipe, by_rows: Set[str]) -> EmbeddingBagCollection:
    """Return the tables on the meta device, with their optimizer.

    Row-wise sharded tables are summed; the head divides for mean pooling. TorchRec would divide the
    output of all tables, but the others have averaged already.
    """
    tables = [
        replace(table, pooling=PoolingType.SUM) if table.name in by_rows else table
        for table in arm.tables
    ]
    collection = EmbeddingBagCollection(tables=tables, device=torch.device("meta"))
    kind, settings = table_optimizer(recipe.optimizer)
    _apply_optimizer_in_backward(kind, collection.parameters(), settings)
    return collection


def _head(arm: Arm, recipe: Recipe, phase: Phase, ranks: RankGroup, by_rows: Set[str]) -> Head:
    assert isinstance(recipe.engine, SyncEngine)
    names = get_embedding_names_by_table(arm.tables)
    # The average over a bag of one is its sum.
    bags = {
        feature_key(replica, feature.name)
        for replica in range(len(arm.seeds))
        for feature in arm.schema.multi_valued
    }
    added_up = [each.name in by_rows and each.pooling is PoolingType.MEAN for each in arm.tables]
    runs = [
        Run(
            name=name,
            width=table.embedding_dim,
            averages=feature if sums and feature in bags else None,
        )
        for table, of_table, sums in zip(arm.tables, names, added_up, strict=True)
        for name, feature in zip(of_table, table.feature_names, strict=True)
    ]
    return Head(
        arm.dense,
        recipe.arm,
        phase.name,
        runs,
        recipe.engine,
        ranks,
        loss_scale=float(recipe.stream.batch_size),
    )


def _distributed(
    step: Step, plan: object, recipe: Recipe, ranks: RankGroup
) -> DistributedModelParallel:
    # A user's own model may run other parts of itself for other batches.
    varies = isinstance(recipe.model, CustomModelConfig)
    return DistributedModelParallel(
        step,
        env=ShardingEnv.from_process_group(dist.group.WORLD),
        device=ranks.device,
        plan=ShardingPlan({"embeddings": plan}),
        sharders=[EmbeddingBagCollectionSharder()],
        data_parallel_wrapper=DefaultDataParallelWrapper(
            static_graph=not varies, find_unused_parameters=varies
        ),
    )


def _fused_states(model: DistributedModelParallel) -> dict[str, dict[str, Distributed]]:
    """Return the state of FBGEMM's optimizers, by table and FBGEMM's name."""
    found: dict[str, dict[str, Distributed]] = {}
    for state in model.fused_optimizer.state_dict()["state"].values():
        for key, value in state.items():
            table, _, moment = key.rpartition(".")
            found.setdefault(table, {})[moment] = value
    return found


def _rowwise(state: Tensor) -> Tensor:
    """Return TorchRec's ``(rows, 1)`` as FBGEMM's ``(rows,)``, sharing memory."""
    return state.view(-1) if state.shape[1] == 1 else state


@torch.no_grad()
def serving_state(
    sharded: ShardedArm, batches: Batches, rows: npt.NDArray[np.int64], batch_size: int
) -> npt.NDArray[np.float32]:
    """Return the served logits of all replicas for some rows, ``[R, len(rows)]``, on every rank."""
    ranks = sharded.ranks
    mine = []
    sharded.model.eval()
    for each in evaluation_parts(batches, rows, batch_size, ranks):
        _, answer = sharded.model(each.to(ranks.device))
        length = each.batch.examples
        full = answer.served.new_zeros(len(answer.served), length)
        full[:, : each.examples] = answer.served
        mine.append(full)
    sharded.model.train()
    together = torch.cat(mine, 1)
    received = [torch.empty_like(together) for _ in range(ranks.count)]
    dist.all_gather(received, together)
    found = np.empty((len(together), len(rows)), np.float32)
    begin = 0
    for first in range(0, len(rows), batch_size):
        size = min(batch_size, len(rows) - first)
        for rank, logits in enumerate(received):
            at, end = part(0, size, rank, ranks.count)
            found[:, first + at : first + end] = logits[:, begin : begin + end - at].cpu().numpy()
        begin += -(-size // ranks.count)
    return found
