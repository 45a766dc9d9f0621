"""What a sharded arm would serve, asked of all ranks together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from distrib.sync.input import evaluation_parts
from distrib.sync.sharded import ShardedArm
from recsys.data.stream import Batches, part


@torch.no_grad()
def served_by_all(
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
