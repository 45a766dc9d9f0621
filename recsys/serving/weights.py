"""The served weights of one replica, and the module rebuilt from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from recsys.arms import ArmConfig
from recsys.data.schema import Schema
from recsys.errors import DataError
from recsys.files import check_sha256, expecting, first_line, read_json, sha256_of
from recsys.models.config import ModelConfig
from recsys.module import Arm, served_group
from recsys.seeds import Seeds

WEIGHTS = "weights.safetensors"
WEIGHTS_META = "weights.json"
_FORMAT = "soloist weights"
_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedWeights:
    """The served towers and tables of one replica, on the CPU."""

    schema: Schema
    tables: Mapping[str, Tensor]
    """``SET/TABLE`` to rows ``(rows, embedding_dim)``; the sets are numbered"""
    towers: Mapping[str, Tensor]
    """The towers' ``state_dict``; first dimension: the served towers"""


def write_weights(place: Path, weights: ServedWeights) -> None:
    """Write weights into a new directory; ``weights.json`` last."""
    path = place / WEIGHTS
    tensors = {f"tables/{name}": tensor for name, tensor in weights.tables.items()}
    tensors |= {f"towers/{name}": tensor for name, tensor in weights.towers.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    meta = {
        "format": _FORMAT,
        "version": _VERSION,
        "sha256": sha256_of(path),
        "schema": weights.schema.to_json(),
    }
    (place / WEIGHTS_META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def has_weights(place: Path) -> bool:
    """Return whether a directory has weights."""
    return (place / WEIGHTS_META).exists()


def read_weights(place: Path) -> ServedWeights:
    """Return the weights in a directory.

    Raises:
        DataError: they are missing or damaged.
    """
    described, path = place / WEIGHTS_META, place / WEIGHTS
    meta = read_json(
        described,
        hint="; trials keep weights with --keep-weights: soloist sweep EXPERIMENT --keep-weights",
    )
    if (meta.get("format"), meta.get("version")) != (_FORMAT, _VERSION):
        raise DataError(f"{described}: not a weights description of version {_VERSION}")
    with expecting("a whole description", described):
        schema, expected = Schema.from_json(meta["schema"]), meta["sha256"]
    check_sha256(path, expected)
    parts: dict[str, dict[str, Tensor]] = {"tables": {}, "towers": {}}
    with expecting("weights", path, SafetensorError, OSError):
        for name, tensor in load_file(path).items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
    return ServedWeights(schema=schema, **parts)


def weights_of(part: Arm, replica: int) -> ServedWeights:
    """Copy the weights of one replica of a served part (``recsys.module.served_part``)."""
    (group,) = part.groups
    first = replica * group.towers
    return ServedWeights(
        schema=part.schema,
        tables={
            _table_key(table_set, name): _copy(rows)
            for table_set in range(group.table_sets)
            for name, rows in part.table_set(replica, group.name, table_set).items()
        },
        towers={
            name: _copy(stacked[first : first + group.towers])
            for name, stacked in part.dense.towers[group.name].state_dict().items()
        },
    )


def rebuilt(weights: ServedWeights, config: ArmConfig, model: ModelConfig, seeds: Seeds) -> Arm:
    """Return the served part of one replica from its weights, on the CPU.

    Its tables are an unsharded ``EmbeddingBagCollection``, for inference only.

    Raises:
        DataError: the weights are not of this arm and model.
        ConfigError: a custom model cannot be used.
    """
    group = served_group(config, config.layout(model.embedding_dim))
    rows = sum(each.numel() for each in weights.tables.values())
    # Before anything is allocated, here or by a user's model: a description can ask for any size.
    least = max((each.cardinality for each in weights.schema.sparse), default=0)
    if rows < least:
        raise DataError(f"weights: found {rows} numbers in tables, expected {least} or more")

    def make_embeddings(tables: list[EmbeddingBagConfig]) -> EmbeddingBagCollection:
        expected = sum(each.num_embeddings * each.embedding_dim for each in tables)
        if rows != expected:
            raise DataError(f"weights: found {rows} numbers in tables, expected {expected}")
        return EmbeddingBagCollection(tables=tables)

    try:
        arm = Arm(config, model, weights.schema, [seeds], make_embeddings, groups=[group])
    except (MemoryError, RuntimeError) as error:
        raise DataError(f"model {model.name}: cannot be created: {first_line(error)}") from None
    tables = {
        _table_key(table_set, name): rows
        for table_set in range(group.table_sets)
        for name, rows in arm.table_set(0, group.name, table_set).items()
    }
    _fill(tables, weights.tables)
    _fill(arm.dense.towers[group.name].state_dict(), weights.towers)
    return arm.eval()


def _table_key(table_set: int, name: str) -> str:
    return f"{table_set}/{name}"


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone()


@torch.no_grad()
def _fill(targets: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in sorted(targets.keys() | found.keys()):
        expected, there = _shape(targets, name), _shape(found, name)
        if expected != there:
            raise DataError(
                f"weights: found {name} {there}, expected {expected}: "
                "they are of another arm, model or code version"
            )
        targets[name].copy_(found[name])


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "not there"
