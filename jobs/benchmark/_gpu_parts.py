"""Where the time of a training step goes: its parts one after another, each waited for.

They are the parts of the very step that the engine trains with, told apart by hooks. What runs
beside what in a training is put in a row, so the parts of a step take longer than the step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from distrib.training.device_transfer import Transfer, device_batches
from distrib.training.step import dense_optimizer, set_arithmetic, train_step
from jobs.benchmark._gpu_ceilings import Ceiling, product_ceiling
from recsys.config import Recipe
from recsys.cost import FLOAT_BYTES, LookupCounter, dense_flops, parameters, wait_for
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import columns_of, fused_collection
from recsys.module import Arm
from recsys.seeds import Seeds

WARM_UP = 8
_STATES = {"sgd": 0, "adagrad": 1, "adam": 2}


class Part(StrEnum):
    """A part of a step, in their order."""

    DATA = "data, on the host"
    TRANSFER = "transfer"
    EMBEDDINGS = "embeddings forward"
    TOWERS = "towers forward"
    BACKWARD = "loss, backward, tables' update"
    UPDATE = "towers' update"


@dataclass(frozen=True, kw_only=True, slots=True)
class Took:
    """The time of one part of a step."""

    seconds: float
    """Until the device was through"""
    host_s: float
    """Of these, until the host had handed it over: where both are alike, the device waited"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a part has to do at the least, and what bounds it."""

    amount: float
    """Bytes, or floating-point operations"""
    ceiling: Ceiling


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """What was seen of a number of steps, per step."""

    parts: Mapping[Part, Took]
    works: Mapping[Part, Work]
    step_s: float
    """As the engine runs it, nothing waited for"""
    kernels_s: float
    """Of it, kernels and copies by PyTorch's profiler, added up; 0 where it may not look"""


class _Marks:
    """Adds up the time between one mark and the next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spent: dict[Part, float] = dict.fromkeys(Part, 0.0)
        self._handing: dict[Part, float] = dict.fromkeys(Part, 0.0)
        self._last = time.perf_counter()

    def __call__(self, part: Part) -> None:
        """Tell that a part ends here."""
        handed = time.perf_counter()
        wait_for(self._device)
        now = time.perf_counter()
        self._handing[part] += handed - self._last
        self._spent[part] += now - self._last
        self._last = now

    def took(self, steps: int) -> dict[Part, Took]:
        return {
            part: Took(seconds=self._spent[part] / steps, host_s=self._handing[part] / steps)
            for part in Part
        }


class Training:
    """An arm in training, step by step.

    Args:
        log: to train on, from the start of its training split.
        recipe: what and how; of one phase.
    """

    def __init__(self, log: ClickLog, recipe: Recipe) -> None:
        self.device = set_arithmetic(recipe)
        self._recipe = recipe
        self._stream = Stream(log, "train", recipe.stream, [Seeds()])
        self._arm = Arm(
            recipe.arm,
            recipe.model,
            log.schema,
            [Seeds()],
            lambda tables: fused_collection(tables, recipe.optimizer, self.device),
        ).to(self.device)
        self._optimizer = dense_optimizer(self._arm.dense, recipe.optimizer)
        self.measured(WARM_UP)

    def measured(self, steps: int) -> Steps:
        """Train so many steps as the engine does, and so many part by part."""
        (example,) = islice(self._stream.batches(), 1)
        return Steps(
            parts=self._in_parts(steps),
            works=works(self._arm, self._recipe, example, self.device),
            step_s=self._as_the_engine(steps),
            kernels_s=self._kernels(steps),
        )

    def _in_parts(self, steps: int) -> dict[Part, Took]:
        transfer = Transfer(self.device)
        batches = self._stream.batches(0, steps)
        wait_for(self.device)
        marks = _Marks(self.device)
        hooks = [
            self._arm.embeddings.register_forward_hook(_marking(marks, Part.EMBEDDINGS)),
            self._arm.dense.register_forward_hook(_marking(marks, Part.TOWERS)),
            self._optimizer.register_step_pre_hook(_marking(marks, Part.BACKWARD)),
            self._optimizer.register_step_post_hook(_marking(marks, Part.UPDATE)),
        ]
        try:
            for on_host in batches:
                marks(Part.DATA)
                (batch,) = transfer.take(transfer.send([on_host]))
                marks(Part.TRANSFER)
                self._step(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return marks.took(steps)

    def _as_the_engine(self, steps: int) -> float:
        start = time.perf_counter()
        with device_batches(self._stream.batches(0, steps), self.device) as batches:
            for fed in batches:
                self._step(fed.batch)
        wait_for(self.device)
        return (time.perf_counter() - start) / steps

    def _kernels(self, steps: int) -> float:
        on_gpu = self.device.type == "cuda"
        with profile(
            activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
        ) as seen:
            self._as_the_engine(steps)
        events = seen.key_averages()
        spent_us = sum(
            event.self_device_time_total if on_gpu else event.self_cpu_time_total
            for event in events
        )
        return float(spent_us) / 1e6 / steps

    def _step(self, batch: Batch) -> None:
        (phase,) = self._recipe.arm.phases
        train_step(self._arm, self._optimizer, batch, phase=phase.name, progress=0.0)


def works(arm: Arm, recipe: Recipe, example: Batch, device: torch.device) -> dict[Part, Work]:
    """Return what the parts of a step on a batch have to do; making data is the host's own."""
    batch = example.to(device)
    counter = LookupCounter()
    counter.count(arm.tables, example)
    read = counter.lookups().bytes_per_example * example.examples
    put_out = sum(map(columns_of, arm.tables)) * example.examples * FLOAT_BYTES
    flops = dense_flops(arm, batch)
    product = product_ceiling(recipe.engine.matmul_precision)
    moved = (example.labels, example.dense, example.sparse.values(), example.sparse.lengths())
    # An optimiser reads weight and gradient and writes the weight; its state it reads and writes.
    touched = 3 + 2 * _STATES[recipe.optimizer.dense]
    update = parameters(arm, None).dense * touched * FLOAT_BYTES
    return {
        Part.TRANSFER: Work(amount=sum(one.nbytes for one in moved), ceiling=Ceiling.TO_DEVICE),
        Part.EMBEDDINGS: Work(amount=read + put_out, ceiling=Ceiling.COPY),
        Part.TOWERS: Work(amount=flops.forward * example.examples, ceiling=product),
        Part.BACKWARD: Work(
            amount=(flops.forward_backward - flops.forward) * example.examples, ceiling=product
        ),
        Part.UPDATE: Work(amount=update, ceiling=Ceiling.COPY),
    }


def _marking(marks: _Marks, part: Part) -> Any:
    """Return a hook, of a module or of an optimiser, that marks the end of a part."""

    def hook(*_: object) -> None:
        marks(part)

    return hook
