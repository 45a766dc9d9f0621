"""Where the time of a training step goes, and how near each part comes to the device's limits.

Hooks separate the parts of the very step that the engine trains with, and the device is
synchronized after each. Operations that overlap in a training then run one after another, so the
parts of a step take longer than the step. The limits are copies and matrix products, measured on
the same device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from distrib.training.device_transfer import Transfer, device_batches
from distrib.training.step import set_arithmetic, train_step
from jobs.benchmark.harness import matmul_precision, spread
from jobs.benchmark.workloads import training_arm
from recsys.config import Recipe
from recsys.cost import FLOAT_BYTES, LookupCounter, dense_flops, parameters, wait_for
from recsys.data.batch import Batch
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import columns_of
from recsys.module import Arm
from recsys.seeds import Seeds

COPIED_BYTES, TRANSFERRED_BYTES, MATRIX_SIDE = 1 << 30, 1 << 28, 8192
"""Large enough that launch overhead does not count"""
_RUNS = 10
_WARM_UP_STEPS, _WARM_UP_RUNS = 8, 2
_OPTIMIZER_STATES = {"sgd": 0, "adagrad": 1, "adam": 2}
"""Values per weight"""


class Part(StrEnum):
    """A part of a step, in their order."""

    DATA = "data, on the host"
    TRANSFER = "transfer"
    EMBEDDINGS = "embeddings forward"
    TOWERS = "towers forward"
    BACKWARD = "loss, backward, tables' update"
    UPDATE = "towers' update"


class Limit(StrEnum):
    """An operation whose measured speed bounds a part of a step."""

    COPY = "device copy"
    TO_DEVICE = "host to device"
    TO_HOST = "device to host"
    FLOAT32 = "float32 product"
    TF32 = "TF32 product"
    BFLOAT16 = "bfloat16 product"

    @property
    def unit(self) -> tuple[str, float]:
        """The unit of its speed, and how many bytes/s or operations/s that is."""
        return ("TFLOP/s", 1e12) if self in _PRODUCTS else ("GB/s", 1e9)


_PRODUCTS = {
    Limit.FLOAT32: ("highest", torch.float32),
    Limit.TF32: ("high", torch.float32),
    Limit.BFLOAT16: ("highest", torch.bfloat16),
}
"""Precision of float32 products, and dtype"""


class Duration(NamedTuple):
    """The time of one part of a step, until the device and until the host was done.

    If both are alike, the device waited for the host.
    """

    seconds: float
    host_s: float


class Work(NamedTuple):
    """The bytes or floating-point operations that a part needs at least, and what bounds it."""

    amount: float
    limit: Limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The measurements of one turn, per step."""

    limits: Mapping[Limit, float]
    parts: Mapping[Part, Duration]
    works: Mapping[Part, Work]
    step_s: float
    """As the engine runs it, without synchronization"""
    kernels_s: float
    """Kernels and copies of such a step by PyTorch's profiler; 0 where it has no permission"""

    @property
    def parts_s(self) -> float:
        """Time of all parts of a step, one after another."""
        return sum(each.seconds for each in self.parts.values())

    def speed(self, part: Part) -> float:
        """Return the bytes or operations per second of a part."""
        return self.works[part].amount / self.parts[part].seconds


def measure_limits(device: torch.device) -> dict[Limit, float]:
    """Return bytes per second (read and written) or floating-point operations per second."""

    def speed(amount: int, run: Callable[[], object]) -> float:
        return amount / _seconds(run, device)

    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=device)
    copy = torch.empty_like(source)
    part = source[:TRANSFERRED_BYTES]
    pinned = torch.zeros(len(part), dtype=torch.uint8, pin_memory=device.type == "cuda")
    limits = {
        Limit.COPY: speed(2 * len(source), lambda: copy.copy_(source, non_blocking=True)),
        Limit.TO_DEVICE: speed(len(part), lambda: part.copy_(pinned, non_blocking=True)),
        Limit.TO_HOST: speed(len(part), lambda: pinned.copy_(part, non_blocking=True)),
    }
    shape = (MATRIX_SIDE, MATRIX_SIDE)
    for limit, (precision, dtype) in _PRODUCTS.items():
        left, right, out = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
        product = partial(torch.mm, left, right, out=out)
        with matmul_precision(precision):
            limits[limit] = speed(2 * MATRIX_SIDE**3, product)
    return limits


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the mean time of ``run``, until the device has finished the last of them."""
    for count in (_WARM_UP_RUNS, _RUNS):
        start = time.perf_counter()
        for _ in range(count):
            run()
        wait_for(device)
    return (time.perf_counter() - start) / _RUNS


class PartTimer:
    """Adds up the time from the end of one part to the end of the next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spent = {part: [0.0, 0.0] for part in Part}
        self._last = time.perf_counter()

    def end(self, part: Part) -> None:
        """Synchronize with the device at the end of a part."""
        on_host = time.perf_counter()
        wait_for(self._device)
        now = time.perf_counter()
        self._spent[part][0] += now - self._last
        self._spent[part][1] += on_host - self._last
        self._last = now

    def hook(self, part: Part) -> Any:
        """Return a hook of a module or an optimizer that ends a part."""
        return lambda *_: self.end(part)

    def per_step(self, steps: int) -> dict[Part, Duration]:
        return {
            part: Duration(seconds=seconds / steps, host_s=host_s / steps)
            for part, (seconds, host_s) in self._spent.items()
        }


class Training:
    """Trains an arm of one phase step by step, from the start of the training split."""

    def __init__(self, log: ClickLog, recipe: Recipe) -> None:
        self.device = set_arithmetic(recipe)
        self._recipe = recipe
        self._stream = Stream(log, "train", recipe.stream, [Seeds()])
        self._arm, self._optimizer = training_arm(log, recipe, self.device)
        for measure in (self._measure_parts, self._measure_step, self._measure_kernels):
            measure(_WARM_UP_STEPS)

    def turn(self, steps: int) -> Turn:
        """Train ``steps`` part by part, as the engine does, and under the profiler."""
        (example,) = self._stream.batches(0, 1)
        return Turn(
            limits=measure_limits(self.device),
            parts=self._measure_parts(steps),
            works=works(self._arm, self._recipe, example, self.device),
            step_s=self._measure_step(steps),
            kernels_s=self._measure_kernels(steps),
        )

    def _measure_parts(self, steps: int) -> dict[Part, Duration]:
        transfer = Transfer(self.device)
        batches = self._stream.batches(0, steps)
        wait_for(self.device)
        timer = PartTimer(self.device)
        hooks = [
            self._arm.embeddings.register_forward_hook(timer.hook(Part.EMBEDDINGS)),
            self._arm.dense.register_forward_hook(timer.hook(Part.TOWERS)),
            self._optimizer.register_step_pre_hook(timer.hook(Part.BACKWARD)),
            self._optimizer.register_step_post_hook(timer.hook(Part.UPDATE)),
        ]
        try:
            for on_host in batches:
                timer.end(Part.DATA)
                (batch,) = transfer.take(transfer.send([on_host]))
                timer.end(Part.TRANSFER)
                self._step(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return timer.per_step(steps)

    def _measure_step(self, steps: int) -> float:
        start = time.perf_counter()
        with device_batches(self._stream.batches(0, steps), self.device) as batches:
            for each in batches:
                self._step(each.batch)
        wait_for(self.device)
        return (time.perf_counter() - start) / steps

    def _measure_kernels(self, steps: int) -> float:
        on_gpu = self.device.type == "cuda"
        activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
        with profile(activities=[activity]) as profiler:
            self._measure_step(steps)
        attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        total_us = sum(getattr(event, attribute) for event in profiler.key_averages())
        return float(total_us) / 1e6 / steps

    def _step(self, batch: Batch) -> None:
        (phase,) = self._recipe.arm.phases
        train_step(self._arm, self._optimizer, batch, phase=phase.name, progress=0.0)


def works(arm: Arm, recipe: Recipe, example: Batch, device: torch.device) -> dict[Part, Work]:
    """Return the work of each part of a step on a batch but the data, which is the host's."""
    counter = LookupCounter()
    counter.count(arm.tables, example)
    examples = example.examples
    read = counter.lookups().bytes_per_example * examples
    written = sum(map(columns_of, arm.tables)) * examples * FLOAT_BYTES
    flops = dense_flops(arm, example.to(device))
    product = Limit.FLOAT32 if recipe.engine.matmul_precision == "highest" else Limit.TF32
    moved = (example.labels, example.dense, example.sparse.values(), example.sparse.lengths())
    # An optimizer reads weight and gradient and writes the weight; its state it reads and writes.
    touched = 3 + 2 * _OPTIMIZER_STATES[recipe.optimizer.dense]
    return {
        Part.TRANSFER: Work(sum(tensor.nbytes for tensor in moved), Limit.TO_DEVICE),
        Part.EMBEDDINGS: Work(read + written, Limit.COPY),
        Part.TOWERS: Work(flops.forward * examples, product),
        Part.BACKWARD: Work((flops.forward_backward - flops.forward) * examples, product),
        Part.UPDATE: Work(parameters(arm, None).dense * touched * FLOAT_BYTES, Limit.COPY),
    }


def parts_table(turns: Sequence[Turn]) -> Table:
    """Return where a step's time goes; each value with its lowest and highest over turns."""

    def over_turns(values: Iterable[float]) -> str:
        return spread(list(values), ".3g")

    table = Table("part", "share, %", "ms", "of which host", "speed", "% of a limit")
    table.title = "Where all of the time is the host's, the device waits for the host"
    for part in Part:
        cells = [
            over_turns(100 * turn.parts[part].seconds / turn.parts_s for turn in turns),
            over_turns(1000 * turn.parts[part].seconds for turn in turns),
            over_turns(1000 * turn.parts[part].host_s for turn in turns),
        ]
        if work := turns[0].works.get(part):
            unit, scale = work.limit.unit
            speed = over_turns(turn.speed(part) / scale for turn in turns)
            share = over_turns(100 * turn.speed(part) / turn.limits[work.limit] for turn in turns)
            cells += [f"{speed} {unit}", f"{share} {work.limit}"]
        table.add_row(part.value, *cells)
    table.add_section()
    table.add_row("one after another", "", over_turns(1000 * turn.parts_s for turn in turns))
    table.add_row("as the engine runs them", "", over_turns(1000 * turn.step_s for turn in turns))
    kernels = over_turns(1000 * turn.kernels_s for turn in turns)
    has_kernels = any(turn.kernels_s for turn in turns)
    table.add_row("of which kernels and copies", "", kernels if has_kernels else "not measured")
    return table


def limits_table(turns: Sequence[Turn]) -> Table:
    """Return the measured limits of the device."""
    table = Table("limit", "measured", title="Copies: bytes read and written; page-locked memory")
    for limit in Limit:
        unit, scale = limit.unit
        found = spread([turn.limits[limit] / scale for turn in turns], ".3g")
        table.add_row(limit.value, f"{found} {unit}")
    return table
