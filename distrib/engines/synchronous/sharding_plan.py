"""Sharding of tables over ranks: requested types, unsupported settings, and the plan."""

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
    """Raise for an unavailable precision, compiler or tracker, and for shared GPUs.

    GPU capabilities are checked on ranks, and on the driver if it has a GPU.

    Raises:
        ConfigError: names field, found and expected.
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
    """Raise if MLflow's own database would be at a URI, where databases cannot be.

    Raises:
        ConfigError: names what would work.
    """
    if engine.tracking == "mlflow" and stored_at_uri and "MLFLOW_TRACKING_URI" not in os.environ:
        raise ConfigError(
            "engine.tracking: found mlflow with checkpoints at a URI, where its database "
            "cannot be; expected a server in MLFLOW_TRACKING_URI, or tensorboard"
        )


def _refuse_precision(engine: SyncEngine, device: torch.device) -> None:
    if engine.precision == "float16" and device.type == "cpu":
        raise ConfigError(
            "engine.precision: found float16 on a CPU, where matmuls are emulated; "
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
            f"engine.resources.num_gpus: found {found:g} for each of {most} ranks, but NCCL "
            "allows one rank per GPU; expected 1, or workers: 1"
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
    """Suppress TorchRec's warnings about data-parallel tables without shards."""
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
    """Return the requested sharding type of each table; the last matching pattern applies.

    Patterns are compared with the table's name within its set (in a built-in model, its feature),
    so one pattern applies to the table of every component and replica.

    Raises:
        ConfigError: a pattern matches no table.
    """
    short = {table.name: table.name.rsplit("/", 1)[-1] for table in tables}
    for pattern in engine.table_sharding:
        if not any(fnmatchcase(name, pattern) for name in short.values()):
            known = ", ".join(dict.fromkeys(short.values()))
            raise ConfigError(
                f"engine.table_sharding.{pattern}: matches no table; there are {known}"
            )
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
    """Raise for sharding types that would not train what one process trains.

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
                "which has one number for a whole row, split over ranks here; expected "
                "table_wise or row_wise, or optimizer.sparse adagrad or sgd"
            )
        if kind == "data_parallel" and optimizer.sparse == "adam":
            raise ConfigError(
                f"engine.sharding: found data_parallel for table {table.name} with adam, which "
                "would also update rows that no example reads; expected table_wise, row_wise "
                "or "
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
    """Return the placement of every shard of every table.

    TorchRec's planner places the tables of type ``auto``. The others are placed here, since the
    planner has no row-wise sharding on CPUs.

    Args:
        tables: of one collection.
        kinds: the sharding type of each.
        optimizer: of the tables.
        device: of the ranks.
        ranks: number of processes.
        ranks_per_node: number of them on a node.
        batch_size: of one rank.

    Raises:
        ConfigError: the planner finds no plan.
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
    """Return the number of equal parts of a row of ``width`` columns for ``ranks`` ranks."""
    return max(n for n in range(1, ranks + 1) if width % (n * _COLUMNS) == 0)


def _placed(tables: Sequence[EmbeddingBagConfig], kinds: Kinds, ranks: int) -> dict[str, Any]:
    """Return TorchRec's generators of each table's sharding.

    Whole tables are assigned in order, in contiguous runs of equal work, so that a rank's output is
    a contiguous range of columns and needs no reordering.
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
    """Return the rank of each item, in contiguous runs of about equal work.

    An item goes to the rank whose share of the total work contains its midpoint.
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
            f"engine.sharding: TorchRec's planner found no plan for {len(tables)} tables on "
            f"{topology.world_size} ranks ({reason}); expected more ranks, smaller tables, or "
            "table_wise, row_wise, column_wise or data_parallel by engine.table_sharding"
        ) from None
    (plan,) = found.plan.values()
    return plan


def _on_meta(
    tables: Sequence[EmbeddingBagConfig], optimizer: OptimizerConfig
) -> EmbeddingBagCollection:
    """Return tables on the meta device, with their optimizer: TorchRec plans fused kernels."""
    made = EmbeddingBagCollection(tables=list(tables), device=torch.device("meta"))
    kind, settings = table_optimizer(optimizer)
    _apply_optimizer_in_backward(kind, made.parameters(), settings)
    return made
