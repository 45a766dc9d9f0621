"""Checkpoints: written by torch.distributed.checkpoint (DCP), with checksums of every file.

A checkpoint is a folder ``checkpoint_*`` of a run: a safetensors file of each rank,
``progress.json`` (the first rank's state besides the model), and ``manifest-RANK.json`` from each
rank with the checksums of its files. It is complete if all manifests exist and match. Tables,
towers and optimizer state have names that do not depend on the sharding, so any number of ranks and
any sharding can resume from it. No file is a pickle.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.planner import WriteItem
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from distrib.engines.synchronous.metrics import MetricsState
from distrib.engines.synchronous.sharded_arm import Distributed, ShardedArm
from distrib.trials.folder import inside
from distrib.trials.json_values import from_json, to_json
from recsys.errors import DataError
from recsys.files import expecting, first_line, read_json, sha256_of
from recsys.module import Arm

FORMAT = 2
NAMES = "checkpoint_*"
"""Of a run's checkpoints"""
MANIFESTS = f"{NAMES}/manifest-0.json"
"""Those that are there of every checkpoint"""
_PROGRESS = "progress.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The files of one rank."""

    format: int
    training: str
    """Digest of all that decides the model"""
    ranks: int
    phase: int
    batches: int
    """Of the phase, that were trained"""
    files: Mapping[str, str]
    """SHA-256 by name"""


class Writer(HuggingFaceStorageWriter):
    """DCP's safetensors writer, also for tables with several shards on one rank."""

    def _split_by_storage_plan(
        self, storage_plan: dict[str, int] | None, items: list[WriteItem]
    ) -> dict[int, list[WriteItem]]:
        # A file has a name once; DCP would keep only the last part under it.
        seen: Counter[str] = Counter()
        files: dict[int, list[WriteItem]] = {}
        for item in items:
            seen[item.index.fqn] += 1
            files.setdefault(seen[item.index.fqn], []).append(item)
        return files


def write(place: Path, sharded: ShardedArm, progress: MetricsState, training: str) -> None:
    """Write this rank's part of a checkpoint into a folder, its own or shared by all ranks."""
    # Plain tensors may share memory, which safetensors refuses.
    state = {
        name: value if isinstance(value, ShardedTensor) else value.clone()
        for name, value in _state(sharded).items()
    }
    save(state, storage_writer=Writer(str(place), save_distributed=True))
    ranks = sharded.ranks
    mine = list(place.glob(f"shard-{ranks.rank + 1:05d}-*"))
    if ranks.is_first:
        (place / _PROGRESS).write_text(json.dumps(to_json(progress)), encoding="utf-8")
        mine.append(place / _PROGRESS)
    manifest = Manifest(
        format=FORMAT,
        training=training,
        ranks=ranks.count,
        phase=progress.phase,
        batches=progress.batches,
        files={path.name: sha256_of(path) for path in mine},
    )
    (place / manifest_name(ranks.rank)).write_text(json.dumps(asdict(manifest), indent=2))


def newest(
    run: Path, training: str, *, bring: Callable[[Path], None] = lambda _: None
) -> Path | None:
    """Return the newest complete checkpoint of a run, or None.

    ``bring`` downloads all files of a checkpoint, given its first manifest.

    Raises:
        DataError: it is of another training, or of another version of this format.
    """
    for place in newest_first(run):
        bring(place)
        try:
            check(place, training)
        except Damaged as error:
            log.warning("%s; resuming from the previous checkpoint", error)
            continue
        return place
    return None


def newest_first(run: Path) -> list[Path]:
    """Return the checkpoints of a run that have a first manifest."""
    manifests = {}
    for place in filter(Path.is_dir, run.glob(NAMES)):
        try:
            manifests[place] = _read_manifest(place, 0)
        except DataError as error:
            log.warning("%s: passed over", error)

    def age(place: Path) -> tuple[int, int, str]:
        return manifests[place].phase, manifests[place].batches, place.name

    return sorted(manifests, key=age, reverse=True)


class Damaged(DataError):
    """A checkpoint was modified or damaged."""


def check(place: Path, training: str) -> None:
    """Raise unless a checkpoint can be resumed from.

    Raises:
        Damaged: a file is missing, truncated or modified.
        DataError: it is of another training, or of another format.
    """
    first = _read_manifest(place, 0)
    if first.format != FORMAT:
        raise DataError(f"{place}: found checkpoint format {first.format}, expected {FORMAT}")
    if first.training != training:
        raise DataError(
            f"{place}: a checkpoint of another training (other data, seeds, code, libraries, arm, "
            f"model, optimiser, stream or precision: found {first.training}, expected {training}); "
            "only the number of ranks, sharding, tracking and intervals may differ"
        )
    for rank in range(first.ranks):
        for name, expected in _read_manifest(place, rank).files.items():
            path = inside(place, name)
            if not path.exists() or sha256_of(path) != expected:
                raise Damaged(f"{path}: not what rank {rank} wrote")


def ranks_of(place: Path) -> int:
    """Return the number of ranks that wrote a checkpoint."""
    return _read_manifest(place, 0).ranks


def read_progress(place: Path) -> MetricsState:
    """Return the first rank's state.

    Raises:
        DataError: it has another format.
    """
    path = place / _PROGRESS
    with expecting("what a rank knows", path):
        return from_json(MetricsState, read_json(path))


def read(place: Path, sharded: ShardedArm, batches: int) -> None:
    """Read this rank's part of a checkpoint; a collective operation."""
    sharded.prepare_optimizers()
    known = HuggingFaceStorageReader(str(place)).read_metadata().state_dict_metadata
    # A parameter that has had no gradient yet has no state, and then none was written.
    stateless = {
        name
        for name, kept in sharded.tower_states().items()
        if not any(f"{tower_key(name)}/{key}" in known for key in kept)
    }
    sharded.reset_states(stateless)
    load(_state(sharded), storage_reader=HuggingFaceStorageReader(str(place)))
    sharded.at_batch(batches)


def read_arm(place: Path, arm: Arm) -> None:
    """Read the model of a checkpoint into an arm of one process, without optimizer state.

    Raises:
        DataError: the checkpoint has other tables or towers.
    """
    bags = arm.embeddings.embedding_bags
    state: dict[str, Tensor] = {
        table_key(table.name): bags[table.name].weight.detach() for table in arm.tables
    }
    state |= {tower_key(name): value for name, value in arm.dense.state_dict().items()}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(state, storage_reader=HuggingFaceStorageReader(str(place)), no_dist=True)
    except (
        CheckpointException,
        LookupError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(f"{place}: not a checkpoint of this arm ({first_line(error)})") from None


def table_key(name: str) -> str:
    """Return the key of a table's weights."""
    return f"tables/{name}"


def tower_key(name: str) -> str:
    """Return the key of a tensor of the towers."""
    return f"towers/{name}"


def _state(sharded: ShardedArm) -> dict[str, Distributed]:
    """Return all tensors of a training by name, not copied."""
    state: dict[str, Distributed] = {}
    for name, table in sharded.tables.items():
        state[table_key(name)] = table.weight
        state |= {f"{table_key(name)}/{key}": value for key, value in table.state.items()}
    for name, value in sharded.arm.dense.state_dict().items():
        state[tower_key(name)] = value
    for name, kept in sharded.tower_states().items():
        state |= {f"{tower_key(name)}/{key}": value for key, value in kept.items()}
    return state


def manifest_name(rank: int) -> str:
    """Return the name of a rank's manifest within a checkpoint."""
    return f"manifest-{rank}.json"


def _read_manifest(place: Path, rank: int) -> Manifest:
    path = place / manifest_name(rank)
    try:
        with expecting("a whole manifest", path):
            return from_json(Manifest, read_json(path))
    except DataError as error:
        raise Damaged(str(error)) from None
