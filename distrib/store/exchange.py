"""Between an arm of whole tables and the parameters of a store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from distrib.store.layout import Layout, pack_dense, replica_tables, unpack_dense
from distrib.store.parameters import Parameters, digest, tensor_of
from recsys.module import Arm


def parameters_of(arm: Arm, layout: Layout, replica: int) -> Parameters:
    """Return a copy of a replica's weights, with accumulators at zero."""
    own = replica_tables(arm.tables, replica)
    bags = arm.embeddings.embedding_bags
    slabs = []
    for slab in layout.slabs:
        records = np.zeros((slab.rows, slab.width + slab.state), np.float32)
        for table, first in zip(slab.tables, slab.first_rows, strict=True):
            weight = bags[arm.tables[own[table]].name].weight.detach().cpu().numpy()
            records[first : first + len(weight), : slab.width] = weight
        slabs.append(records)
    dense = np.zeros((layout.dense_parts, layout.dense), np.float32)
    dense[0] = pack_dense(list(arm.dense.parameters()), len(arm.seeds))[replica].cpu().numpy()
    return Parameters(slabs=tuple(slabs), dense=dense)


@torch.no_grad()
def fill_arm(arm: Arm, layout: Layout, replicas: Sequence[Parameters]) -> None:
    """Copy the weights of all replicas into an arm; its optimisers' state stays as it is."""
    bags = arm.embeddings.embedding_bags
    for replica, parameters in enumerate(replicas):
        own = replica_tables(arm.tables, replica)
        for slab, records in zip(layout.slabs, parameters.slabs, strict=True):
            weights = tensor_of(records)[:, : slab.width]
            for table, first in zip(slab.tables, slab.first_rows, strict=True):
                weight = bags[arm.tables[own[table]].name].weight
                weight.copy_(weights[first : first + len(weight)])
    dense = torch.stack([tensor_of(each.dense[0]) for each in replicas])
    unpack_dense(dense, list(arm.dense.parameters()))


def digests(arm: Arm, layout: Layout, parameters: Parameters) -> dict[str, str]:
    """Return the SHA-256 of every tensor of a replica, accumulators beside weights."""
    own = replica_tables(arm.tables, 0)
    found = {}
    for slab, records in zip(layout.slabs, parameters.slabs, strict=True):
        for table, first in zip(slab.tables, slab.first_rows, strict=True):
            config = arm.tables[own[table]]
            rows = records[first : first + config.num_embeddings]
            found[f"{config.name}/weights"] = digest(rows[:, : slab.width])
            if slab.state:
                found[f"{config.name}/accumulators"] = digest(rows[:, slab.width :])
    first = 0
    for name, weight in arm.dense.named_parameters():
        size = weight.numel() // len(arm.seeds)
        for part, values in zip(("weights", "accumulators"), parameters.dense, strict=False):
            found[f"dense/{name}/{part}"] = digest(values[first : first + size])
        first += size
    return found
