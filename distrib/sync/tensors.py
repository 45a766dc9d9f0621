"""Tensors that lie in parts on several ranks: which part is here, and how to have the whole."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._shard.sharded_tensor.api import ShardedTensor

Distributed = ShardedTensor | Tensor
"""In parts, each on one rank; or a plain tensor, of which every rank has a copy."""


Place = tuple[slice, ...]


@torch.no_grad()
def fill(target: Distributed, whole: Tensor) -> None:
    """Copy this rank's part of a tensor from the whole."""
    for index, part in local_parts(target):
        part.copy_(whole[index])


@torch.no_grad()
def whole(source: Distributed) -> Tensor:
    """Return a copy of all parts in one tensor, on every rank; all ranks have to ask for it."""
    if not isinstance(source, ShardedTensor):
        return source.detach().clone()
    device = dist.distributed_c10d._get_pg_default_device()
    found = torch.zeros(source.size(), dtype=source.dtype, device=device)
    for index, part in local_parts(source):
        found[index] = part
    dist.all_reduce(found)  # every element is on one rank, and 0 on the others
    return found


def local_parts(source: Distributed) -> list[tuple[Place, Tensor]]:
    """Return what of a tensor is here: places in the whole, and the memory of each part."""
    if not isinstance(source, ShardedTensor):
        return [((slice(None),) * source.dim(), source.detach())]
    parts = []
    for shard in source.local_shards():
        spans = zip(shard.metadata.shard_offsets, shard.metadata.shard_sizes, strict=True)
        parts.append((tuple(slice(first, first + size) for first, size in spans), shard.tensor))
    return parts
