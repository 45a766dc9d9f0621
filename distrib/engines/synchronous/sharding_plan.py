"""How tables are sharded over ranks: the requested sharding types, refusals, and the plan."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any

import torch
from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
from torchrec.distributed import sharding_plan as torchrec_plan
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
from torchrec.distributed.planner.types import ParameterConstraints, PlannerError
from torchrec.distributed.types import EmbeddingModuleShardingPlan
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from recsys.config import OptimizerConfig, Recipe
from recsys.embeddings import columns_of, table_optimizer
from recsys.engines import ShardingKind, SyncEngine
from recsys.errors import ConfigError

_BFLOAT16_CAPABILITY = (8, 0)


def refuse_unavailable(recipe: Recipe, device: torch.device) -> None:
    """Refuse a precision, a compiler or a tracker that is not there, and GPUs shared by ranks.

    What a GPU can do is looked at where there is one: on ranks, and on a driver that has one too.

    Raises:
        ConfigError: names the field, what was found and what would work.
    """
    assert isinstance(recipe.engine, SyncEngine)
    _refuse_precision(recipe.engine, device)
    _refuse_shared_gpus(recipe.engine)
    if recipe.engine.compile:
        _refuse_no_compiler(device)
    if recipe.engine.tracking == "mlflow" and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "engine.tracking: found mlflow, which is not installed; "
            "expected pip install 'soloist[tracking]' first, or tensorboard"
        )


def refuse_lost_scalars(engine: SyncEngine, *, stored_at_uri: bool) -> None:
    """Refuse MLflow's own database in a run that lies where no database can.

    Raises:
        ConfigError: says what would work.
    """
    if engine.tracking == "mlflow" and stored_at_uri and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ConfigError(
            "engine.tracking: found mlflow with checkpoints at a URI, where its database cannot "
            "lie; expected a server in MLFLOW_TRACKING_URI, or tensorboard"
        )


def _refuse_precision(engine: SyncEngine, device: torch.device) -> None:
    if engine.precision == "float16" and device.type == "cpu":
        raise ConfigError(
            "engine.precision: found float16 on a CPU, where its products are emulated; "
            "expected float32 or bfloat16"
        )
    if engine.precision == "bfloat16" and device.type == "cuda" and torch.cuda.is_available():
        found = torch.cuda.get_device_capability()
        if found < _BFLOAT16_CAPABILITY:
            raise ConfigError(
                f"engine.precision: found bfloat16 on a GPU of compute capability "
                f"{found[0]}.{found[1]}, which emulates it; expected float32 or float16"
            )


def _refuse_shared_gpus(engine: SyncEngine) -> None:
    found, (_, most) = engine.resources.num_gpus, engine.worker_range
    if found is not None and 0 < found < 1 < most:
        raise ConfigError(
            f"engine.resources.num_gpus: found {found:g} for each of {most} ranks, but NCCL takes "
            "no two on one GPU; expected 1, or workers: 1"
        )


def _refuse_no_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ConfigError(
                "engine.compile: found true, but Triton is not installed; expected false"
            )
        return
    named = os.environ.get("CXX")
    if not any(shutil.which(each) for each in ([named] if named else ["g++", "clang++"])):
        raise ConfigError(
            f"engine.compile: found true, but no C++ compiler ({named or 'g++, clang++ or $CXX'}); "
            "expected false, or an installed compiler"
        )


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Have no warnings inside the block: not of each data-parallel table that it has no shards."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


Kinds = Mapping[str, ShardingKind]
"""Table name to sharding type."""

_COLUMNS = 4  # FBGEMM takes columns by fours
_RESERVED = 0.15  # share of memory for everything but tables, as in TorchRec's own examples


def sharding_kinds(engine: SyncEngine, tables: Sequence[EmbeddingBagConfig]) -> Kinds:
    """Return the sharding type that is asked for of each table; the last pattern that fits counts.

    A pattern is compared with the table's name within its set, which is its feature's in a built-in
    model: one pattern holds for the table of every component and replica.

    Raises:
        ConfigError: a pattern fits no table.
    """
    short = {table.name: table.name.rsplit("/", 1)[-1] for table in tables}
    for pattern in engine.table_sharding:
        if not any(fnmatchcase(name, pattern) for name in short.values()):
            known = ", ".join(dict.fromkeys(short.values()))
            raise ConfigError(f"engine.table_sharding.{pattern}: fits no table; there are {known}")
    return {
        name: next(
            (
                kind
                for pattern, kind in reversed(engine.table_sharding.items())
                if fnmatchcase(feature, pattern)
            ),
            engine.sharding,
        )
        for name, feature in short.items()
    }


def refuse_sharding(
    kinds: Kinds,
    tables: Sequence[EmbeddingBagConfig],
    optimizer: OptimizerConfig,
    device: torch.device,
) -> None:
    """Refuse what cannot train what one process trains.

    Raises:
        ConfigError: names table, sharding type and what would work.
    """
    if optimizer.sparse == "adam" and device.type == "cpu":
        raise ConfigError(
            "optimizer.sparse: found adam on a CPU, where FBGEMM has none; "
            "expected rowwise_adagrad, adagrad or sgd"
        )
    for table in tables:
        kind = kinds[table.name]
        if kind == "column_wise" and optimizer.sparse == "rowwise_adagrad":
            raise ConfigError(
                f"engine.sharding: found column_wise for table {table.name} with rowwise_adagrad, "
                "which keeps one number for a whole row, and each rank has a part of it; expected "
                "table_wise or row_wise, or optimizer.sparse adagrad or sgd"
            )
        if kind == "data_parallel" and optimizer.sparse == "adam":
            raise ConfigError(
                f"engine.sharding: found data_parallel for table {table.name} with adam, which "
                "would move the rows that no example reads too; expected table_wise, row_wise or "
                "column_wise, or optimizer.sparse rowwise_adagrad, adagrad or sgd"
            )


def sharding_plan(
    tables: Sequence[EmbeddingBagConfig],
    kinds: Kinds,
    optimizer: OptimizerConfig,
    *,
    device: torch.device,
    ranks: int,
    ranks_per_node: int,
    batch_size: int,
) -> EmbeddingModuleShardingPlan:
    """Return where every shard of every table lies.

    TorchRec's planner places the tables whose type is ``auto``. The others are placed here, since
    it offers no row-wise sharding on a CPU.

    Args:
        tables: of one collection.
        kinds: the sharding type of each.
        optimizer: of the tables.
        device: that the ranks train on.
        ranks: number of processes.
        ranks_per_node: how many of them a node has.
        batch_size: of one rank.

    Raises:
        ConfigError: the planner finds no place for the tables.
    """
    plan = EmbeddingModuleShardingPlan()
    by_kind = [table for table in tables if kinds[table.name] != "auto"]
    if by_kind:
        plan.update(
            torchrec_plan.construct_module_sharding_plan(
                _on_meta(by_kind, optimizer),
                _placed(by_kind, kinds, ranks),
                sharder=EmbeddingBagCollectionSharder(),
                local_size=ranks_per_node,
                world_size=ranks,
                device_type=device.type,
            )
        )
    free = [table for table in tables if kinds[table.name] == "auto"]
    if free:
        with suppress_warnings():
            topology = Topology(
                world_size=ranks, local_world_size=ranks_per_node, compute_device=device.type
            )
            plan.update(_planned(free, optimizer, topology, batch_size))
    return EmbeddingModuleShardingPlan({table.name: plan[table.name] for table in tables})


def column_parts(width: int, ranks: int) -> int:
    """Return into how many equal parts a row of ``width`` columns is cut for ``ranks`` ranks."""
    return max(n for n in range(1, ranks + 1) if width % (n * _COLUMNS) == 0)


def _placed(tables: Sequence[EmbeddingBagConfig], kinds: Kinds, ranks: int) -> dict[str, Any]:
    """Return TorchRec's makers of each table's sharding.

    Whole tables are dealt out in their order, in runs of equal work: a rank's output is then one
    run of the columns that the towers read, and nothing has to be copied into order.
    """
    whole = [table for table in tables if kinds[table.name] == "table_wise"]
    rank_of = dict(
        zip((table.name for table in whole), runs([*map(columns_of, whole)], ranks), strict=True)
    )
    placed: dict[str, Any] = {}
    for table in tables:
        kind = kinds[table.name]
        if kind == "table_wise":
            placed[table.name] = torchrec_plan.table_wise(rank_of[table.name])
        elif kind == "column_wise":
            parts = column_parts(table.embedding_dim, ranks)
            placed[table.name] = torchrec_plan.column_wise(ranks=list(range(parts)))
        elif kind == "row_wise":
            placed[table.name] = torchrec_plan.row_wise()
        else:
            placed[table.name] = torchrec_plan.data_parallel()
    return placed


def runs(work: Sequence[int], ranks: int) -> list[int]:
    """Return the rank of each piece of work, so that ranks get runs of about equal work.

    A piece goes to the rank in whose share of all the work its middle lies.
    """
    total = sum(work)
    ends = accumulate(work)
    return [
        int((2 * end - one) * ranks // (2 * total)) for one, end in zip(work, ends, strict=True)
    ]


def _planned(
    tables: Sequence[EmbeddingBagConfig],
    optimizer: OptimizerConfig,
    topology: Topology,
    batch_size: int,
) -> EmbeddingModuleShardingPlan:
    allowed = ["table_wise"]
    if topology.compute_device == "cuda":
        allowed.append("row_wise")
    if optimizer.sparse != "rowwise_adagrad":
        allowed.append("column_wise")
    if optimizer.sparse != "adam":
        allowed.append("data_parallel")
    constraints = {table.name: ParameterConstraints(sharding_types=allowed) for table in tables}
    planner = EmbeddingShardingPlanner(
        topology=topology,
        batch_size=batch_size,
        constraints=constraints,
        storage_reservation=FixedPercentageStorageReservation(_RESERVED),
    )
    try:
        found = planner.plan(_on_meta(tables, optimizer), [EmbeddingBagCollectionSharder()])
    except PlannerError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"engine.sharding: TorchRec's planner found no place for {len(tables)} tables on "
            f"{topology.world_size} ranks ({reason}); expected more ranks, smaller tables, or "
            "table_wise, row_wise, column_wise or data_parallel by engine.table_sharding"
        ) from None
    (plan,) = found.plan.values()
    return plan


def _on_meta(
    tables: Sequence[EmbeddingBagConfig], optimizer: OptimizerConfig
) -> EmbeddingBagCollection:
    """Return the tables without memory; with their optimiser, TorchRec plans fused kernels."""
    made = EmbeddingBagCollection(tables=list(tables), device=torch.device("meta"))
    kind, settings = table_optimizer(optimizer)
    _apply_optimizer_in_backward(kind, made.parameters(), settings)
    return made
