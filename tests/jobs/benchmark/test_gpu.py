"""The benchmark of a GPU, on the CPU in small; and its refusal where there is no GPU."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from jobs.benchmark import _criteo, _gpu_ceilings, _gpu_parts, _turns, activations, gpu
from jobs.benchmark._gpu_ceilings import Ceiling, Sizes, ceilings
from jobs.benchmark._gpu_parts import Part, Steps, Took, Training, Work
from jobs.benchmark._gpu_tables import Turn, ceilings_table, parts_table
from jobs.command import BAD_INPUT, run
from recsys.data.stream import Stream
from recsys.data.synthetic import Synthetic
from recsys.embeddings import fused_collection
from recsys.module import Arm
from recsys.seeds import Seeds
from tests.support.devices import needs_gpu
from tests.support.logs import small_log, small_recipe

CPU = torch.device("cpu")
SMALL = Sizes(copied_bytes=1 << 12, moved_bytes=1 << 10, side=16, repeats=2)
PLAIN = Synthetic(rows=1280, dense=2, cardinalities=(40, 12, 5), bag_cardinalities=())
DLRM = {
    "model": {"name": "dlrm", "embedding_dim": 4, "bottom": [6], "hidden": [6, 4]},
    "stream": {"batch_size": 32, "shuffle": 0},
}
EXTENT = gpu.Extent(
    batches=4,
    turns=2,
    seconds=0.01,
    batch_sizes=(64,),
    part_steps=3,
    sizes=SMALL,
    replicas=(1, 2),
    fused_rows=1000,
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("gpu"), PLAIN)


def printed(*what) -> str:
    console = Console(file=io.StringIO(), width=200)
    for each in what:
        console.print(each)
    return console.file.getvalue()


def arm_of(log, recipe) -> Arm:
    return Arm(
        recipe.arm,
        recipe.model,
        log.schema,
        [Seeds()],
        lambda tables: fused_collection(tables, recipe.optimizer, CPU),
    )


def a_turn(towers_ms: float, other_ms: float, flops: float) -> Turn:
    took = {part: Took(seconds=other_ms / 1000, host_s=0.0) for part in Part}
    took[Part.TOWERS] = Took(seconds=towers_ms / 1000, host_s=0.001)
    return Turn(
        ceilings=dict.fromkeys(Ceiling, 1e12),
        steps=Steps(
            parts=took,
            works={Part.TOWERS: Work(amount=flops, ceiling=Ceiling.TF32)},
            step_s=0.004,
            kernels_s=0.003,
        ),
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line_and_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(gpu.gpu, arguments=["--turns", "1"])

    assert stopped.value.code == BAD_INPUT
    said = capsys.readouterr()
    assert said.err.startswith("soloist: benchmark gpu: found no GPU")
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_every_ceiling_is_measured():
    before = torch.get_float32_matmul_precision()

    found = ceilings(CPU, SMALL)

    assert found.keys() == set(Ceiling)
    assert all(rate > 0 for rate in found.values())
    assert torch.get_float32_matmul_precision() == before


def test_a_ceiling_is_the_work_over_the_time(monkeypatch):
    monkeypatch.setattr(_gpu_ceilings, "_seconds", lambda run, device, sizes: 0.5)

    found = ceilings(CPU, SMALL)

    assert found[Ceiling.COPY] == 2 * (1 << 12) / 0.5
    assert found[Ceiling.TO_DEVICE] == (1 << 10) / 0.5
    assert found[Ceiling.BFLOAT16] == 2 * 16**3 / 0.5


def test_the_parts_of_a_step_are_told_apart_and_each_takes_time(log):
    training = Training(log, small_recipe(**DLRM))

    steps = training.measured(5)

    assert list(steps.parts) == list(Part)
    assert all(0 < took.host_s <= took.seconds for took in steps.parts.values())
    assert steps.step_s > 0
    assert steps.kernels_s > 0


def test_marks_give_each_part_the_time_since_the_last_one(monkeypatch):
    moments = iter([0.0, 1.0, 1.5, 3.0, 7.0])  # begin; handed over and through, twice
    monkeypatch.setattr(_gpu_parts.time, "perf_counter", lambda: next(moments))
    marks = _gpu_parts._Marks(CPU)

    marks(Part.DATA)
    marks(Part.TOWERS)

    took = marks.took(2)
    assert took[Part.DATA] == Took(seconds=0.75, host_s=0.5)
    assert took[Part.TOWERS] == Took(seconds=2.75, host_s=0.75)
    assert took[Part.UPDATE].seconds == 0


def test_the_hooks_are_gone_after_the_parts_were_told_apart(log):
    training = Training(log, small_recipe(**DLRM))

    training.measured(2)

    assert not training._arm.dense._forward_hooks
    assert not training._arm.embeddings._forward_hooks
    assert not training._optimizer._optimizer_step_pre_hooks


def test_the_work_of_each_part_is_that_of_a_batch(log):
    recipe = small_recipe(**DLRM)
    arm = arm_of(log, recipe)
    (example,) = Stream(log, "train", recipe.stream, [Seeds()]).batches(0, 1)

    found = _gpu_parts.works(arm, recipe, example, CPU)

    ids, columns = 32 * 3, 3 * 4
    assert found[Part.TRANSFER].amount == 32 * 4 + 32 * 2 * 4 + ids * 4 + ids * 4
    assert found[Part.EMBEDDINGS].amount == ids * 4 * 4 + 32 * columns * 4
    dense = sum(parameter.numel() for parameter in arm.dense.parameters())
    assert found[Part.UPDATE].amount == 5 * dense * 4  # Adagrad
    layers = 2 * 6 + 6 * 4 + (4 + 6) * 6 + 6 * 4  # the last, of one column, is no product
    interactions = 4 * 4 * 4  # 4 vectors of 4, each with each
    assert found[Part.TOWERS].amount == 32 * 2 * (layers + interactions)
    assert found[Part.BACKWARD].amount > found[Part.TOWERS].amount
    assert Part.DATA not in found


def test_the_ceiling_of_products_is_that_of_their_precision(log):
    recipe = small_recipe(**DLRM, engine={"matmul_precision": "high"})
    (example,) = Stream(log, "train", recipe.stream, [Seeds()]).batches(0, 1)

    found = _gpu_parts.works(arm_of(log, recipe), recipe, example, CPU)

    assert found[Part.TOWERS].ceiling is Ceiling.TF32


def test_shares_and_ceilings_are_taken_within_a_turn():
    turns = [a_turn(5, 1, 1e9), a_turn(15, 1, 1e9), a_turn(1, 1, 1e9)]

    shown = printed(parts_table(turns), ceilings_table(turns))

    assert "50 [16.7, 75]" in shown
    assert "0.2 [0.0667, 1] TFLOP/s" in shown
    assert "20 [6.67, 100] TF32 product" in shown
    assert "10 [6, 20]" in shown  # one after another
    assert "4 [4, 4]" in shown  # as the engine runs them
    assert "3 [3, 3]" in shown  # of it kernels
    assert "1e+03 [1e+03, 1e+03] GB/s" in shown


def test_all_of_it_runs_on_a_device(monkeypatch):
    monkeypatch.setattr(_criteo, "TABLES", 3)
    monkeypatch.setattr(_criteo, "ROWS", 50)
    monkeypatch.setattr(activations, "ACTIVATIONS", ("relu", "smelu(beta=0.5)"))
    monkeypatch.setattr(activations, "SHAPES", ((8, 4),))
    console = Console(file=io.StringIO(), width=200)

    gpu.measure(console, CPU, set(gpu.Part), EXTENT)

    shown = console.file.getvalue()
    for line in (
        "local, TF32 ÷ plain TorchRec loop, TF32",
        "smelu(beta=1) ÷ relu",
        "embeddings forward",
        "host to device",
        "2 side by side ÷ 1 side by side",
        "smelu(beta=0.5)",
    ):
        assert line in shown


def test_replicas_side_by_side_are_counted_each(monkeypatch, log):
    monkeypatch.setattr(gpu._fused, "study_s", lambda log, trials: 2.0)

    assert gpu.fused_turn(log, CPU, (1, 8)) == {"1 side by side": 0.5, "8 side by side": 4.0}


def test_the_clock_of_a_gpu_waits_half_way_and_at_the_end(monkeypatch):
    waited: list[int] = []
    clock = _turns.Clock(CPU, 5)
    monkeypatch.setattr(_turns, "wait_for", lambda device: waited.append(len(clock._examples)))

    for _ in range(5):
        clock(10)

    assert waited == [3, 5]
    assert np.isfinite(clock.rate())


@needs_gpu
def test_on_a_gpu_all_of_it_runs(monkeypatch):
    monkeypatch.setattr(activations, "SHAPES", ((8, 4),))
    console = Console(file=io.StringIO(), width=200)

    gpu.measure(console, gpu.the_gpu(), set(gpu.Part), EXTENT)

    assert "SmeLU is Triton" in console.file.getvalue()
