"""Checkpoints: written by torch.distributed.checkpoint, vouched for by checksums.

A checkpoint is a folder ``checkpoint_*`` of a run: DCP's files, ``progress.pickle`` (what the first
rank knows besides the model), and from each rank ``manifest-RANK.json`` with the checksums of the
files that it wrote. It is whole if all manifests are there and every file is what they say. It
holds tables, towers and optimiser state under names that do not tell how they were sharded, so that
any number of ranks, and any sharding, can go on from it. Checkpoints are as trusted as the code:
only load your own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from distrib.folder import inside
from distrib.sync.account import Progress
from distrib.sync.sharded import ShardedArm
from distrib.sync.tensors import Distributed
from recsys.errors import DataError
from recsys.module import Arm

FORMAT = 1
NAMES = "checkpoint_*"
"""Of a run's checkpoints"""
MANIFESTS = f"{NAMES}/manifest-0.json"
"""Those that are there of every checkpoint"""
_PROGRESS = "progress.pickle"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a rank vouches for."""

    format: int
    training: str
    """Digest of all that decides the model"""
    ranks: int
    phase: int
    batches: int
    """Of the phase, that were trained"""
    files: Mapping[str, str]
    """SHA-256 by name"""


def write(place: Path, sharded: ShardedArm, progress: Progress, training: str) -> None:
    """Write this rank's part of a checkpoint into a folder, its own or one that all ranks share."""
    save(_state(sharded), storage_writer=FileSystemWriter(place, single_file_per_rank=True))
    ranks = sharded.ranks
    mine = list(place.glob(f"__{ranks.rank}_*"))
    if ranks.is_first:
        (place / _PROGRESS).write_bytes(pickle.dumps(progress))
        mine += [place / ".metadata", place / _PROGRESS]
    manifest = Manifest(
        format=FORMAT,
        training=training,
        ranks=ranks.count,
        phase=progress.phase,
        batches=progress.batches,
        files={path.name: checksum(path) for path in mine},
    )
    (place / manifest_name(ranks.rank)).write_text(json.dumps(asdict(manifest), indent=2))


def newest(
    run: Path, training: str, *, bring: Callable[[Path], None] = lambda _: None
) -> Path | None:
    """Return the newest whole checkpoint of a run, None where there is none.

    ``bring`` has all files of a checkpoint here, of which the first manifest is.

    Raises:
        DataError: it is of another training, or was written by another version of this format.
    """
    for place in newest_first(run):
        bring(place)
        try:
            check(place, training)
        except Damaged as error:
            log.warning("%s; going on from the checkpoint before it", error)
            continue
        return place
    return None


def newest_first(run: Path) -> list[Path]:
    """Return the checkpoints of a run, but for those without a first manifest."""
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
    """A checkpoint is not what was written."""


def check(place: Path, training: str) -> None:
    """Refuse a checkpoint that cannot be gone on from.

    Raises:
        Damaged: a file is missing, cut short or changed.
        DataError: it is of another training, or of another format.
    """
    first = _read_manifest(place, 0)
    if first.format != FORMAT:
        raise DataError(f"{place}: found checkpoint format {first.format}, expected {FORMAT}")
    if first.training != training:
        raise DataError(
            f"{place}: a checkpoint of another training (other data, seeds, code, libraries, arm, "
            f"model, optimiser, stream or precision: found {first.training}, expected {training}); "
            "only the number of ranks, sharding, and what is reported and when may differ"
        )
    for rank in range(first.ranks):
        for name, expected in _read_manifest(place, rank).files.items():
            path = inside(place, name)
            if not path.exists() or checksum(path) != expected:
                raise Damaged(f"{path}: not what rank {rank} wrote")


def ranks_of(place: Path) -> int:
    """Return how many ranks wrote a checkpoint."""
    return _read_manifest(place, 0).ranks


def read_progress(place: Path) -> Progress:
    """Return what the first rank knew."""
    found: Progress = pickle.loads((place / _PROGRESS).read_bytes())
    return found


def read(place: Path, sharded: ShardedArm, batches: int) -> None:
    """Read this rank's part of a checkpoint; all ranks have to read it together."""
    sharded.prepare_optimizers()
    known = FileSystemReader(place).read_metadata().state_dict_metadata
    # A parameter that has had no gradient yet has no state, and then none was written.
    stateless = {
        name
        for name, kept in sharded.tower_states().items()
        if not any(f"{tower_key(name)}/{key}" in known for key in kept)
    }
    sharded.forget_states(stateless)
    load(_state(sharded), storage_reader=FileSystemReader(place))
    sharded.at_batch(batches)


def read_arm(place: Path, arm: Arm) -> None:
    """Read the model of a checkpoint into an arm of one process, without its optimiser state.

    Raises:
        DataError: the checkpoint is of other tables or towers.
    """
    bags = arm.embeddings.embedding_bags
    state: dict[str, Tensor] = {
        table_key(table.name): bags[table.name].weight.detach() for table in arm.tables
    }
    state |= {tower_key(name): value for name, value in arm.dense.state_dict().items()}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(state, storage_reader=FileSystemReader(place), no_dist=True)
    except (CheckpointException, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{place}: not a checkpoint of this arm ({reason})") from None


def table_key(name: str) -> str:
    """Return the key of a table's weights."""
    return f"tables/{name}"


def tower_key(name: str) -> str:
    """Return the key of a tensor of the towers."""
    return f"towers/{name}"


def _state(sharded: ShardedArm) -> dict[str, Distributed]:
    """Return all tensors of a training by name; they are its own memory."""
    state: dict[str, Distributed] = {}
    for name, table in sharded.tables.items():
        state[table_key(name)] = table.weight
        state |= {f"{table_key(name)}/{key}": value for key, value in table.state.items()}
    for name, value in sharded.arm.dense.state_dict().items():
        state[tower_key(name)] = value
    for name, kept in sharded.tower_states().items():
        state |= {f"{tower_key(name)}/{key}": value for key, value in kept.items()}
    return state


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_name(rank: int) -> str:
    """Return the name of a rank's manifest within a checkpoint."""
    return f"manifest-{rank}.json"


def _read_manifest(place: Path, rank: int) -> Manifest:
    path = place / manifest_name(rank)
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise Damaged(f"{path}: not a whole manifest ({type(error).__name__})") from None
