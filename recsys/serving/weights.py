"""The weights of what one replica serves, and the module that they make again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from recsys.arms import ArmConfig
from recsys.errors import DataError
from recsys.files import first_line
from recsys.models.config import ModelConfig
from recsys.module import Arm, served_group
from recsys.seeds import Seeds
from recsys.serving.weight_files import ServedWeights


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
    """Return the served part that weights were taken from, one replica of it, on the CPU.

    Its tables are an unsharded ``EmbeddingBagCollection``: it answers, it does not train.

    Raises:
        DataError: the weights are not those of this arm and model.
        ConfigError: the model is a user's own and cannot be used.
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
        raise DataError(f"model {model.name}: cannot be made: {first_line(error)}") from None
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
                "they are of another arm or model, or its code has changed"
            )
        targets[name].copy_(found[name])


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(tensors[name].shape)) if name in tensors else "not there"
