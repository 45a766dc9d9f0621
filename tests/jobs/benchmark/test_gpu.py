"""The benchmark of a GPU, on the CPU in small; and its refusal where there is no GPU."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from jobs.benchmark import activations, gpu, gpu_parts, harness, workloads
from jobs.benchmark.gpu_parts import (
    Duration,
    Limit,
    Part,
    Training,
    Turn,
    Work,
    limits_table,
    measure_limits,
    parts_table,
)
from jobs.command import BAD_INPUT, run
from recsys.data.stream import Stream
from recsys.data.synthetic import Synthetic
from recsys.seeds import Seeds
from tests.support.devices import needs_gpu
from tests.support.logs import small_log, small_recipe

CPU = torch.device("cpu")
PLAIN = Synthetic(rows=1280, dense=2, cardinalities=(40, 12, 5), bag_cardinalities=())
DLRM = {
    "model": {"name": "dlrm", "embedding_dim": 4, "bottom": [6], "hidden": [6, 4]},
    "stream": {"batch_size": 32, "shuffle": 0},
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, size in {
        "COPIED_BYTES": 1 << 12,
        "TRANSFERRED_BYTES": 1 << 10,
        "MATRIX_SIDE": 16,
    }.items():
        monkeypatch.setattr(gpu_parts, name, size)
    monkeypatch.setattr(gpu, "BATCH_SIZES", (64,))
    monkeypatch.setattr(gpu, "PART_STEPS", 3)
    monkeypatch.setattr(gpu, "REPLICAS", (1, 2))
    monkeypatch.setattr(workloads, "MOVIELENS_ROWS", 1000)
    monkeypatch.setattr(activations, "SHAPES", ((8, 4),))


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("gpu"), PLAIN)


def printed(*what) -> str:
    console = Console(file=io.StringIO(), width=200)
    for each in what:
        console.print(each)
    return console.file.getvalue()


def a_turn(towers_ms: float, other_ms: float, flops: float) -> Turn:
    parts = {part: Duration(seconds=other_ms / 1000, host_s=0.0) for part in Part}
    parts[Part.TOWERS] = Duration(seconds=towers_ms / 1000, host_s=0.001)
    return Turn(
        limits=dict.fromkeys(Limit, 1e12),
        parts=parts,
        works={Part.TOWERS: Work(flops, Limit.TF32)},
        step_s=0.004,
        kernels_s=0.003,
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


def test_every_limit_is_measured():
    before = torch.get_float32_matmul_precision()

    found = measure_limits(CPU)

    assert found.keys() == set(Limit)
    assert all(rate > 0 for rate in found.values())
    assert torch.get_float32_matmul_precision() == before


def test_a_limit_is_the_work_over_the_time(monkeypatch):
    monkeypatch.setattr(gpu_parts, "_seconds", lambda run, device: 0.5)

    found = measure_limits(CPU)

    assert found[Limit.COPY] == 2 * (1 << 12) / 0.5
    assert found[Limit.TO_DEVICE] == (1 << 10) / 0.5
    assert found[Limit.BFLOAT16] == 2 * 16**3 / 0.5


def test_the_parts_of_a_step_are_separated_and_each_takes_time(log):
    training = Training(log, small_recipe(**DLRM))

    steps = training.turn(5)

    assert list(steps.parts) == list(Part)
    assert all(0 < each.host_s <= each.seconds for each in steps.parts.values())
    assert steps.step_s > 0
    assert steps.kernels_s > 0


def test_each_part_gets_the_time_since_the_end_of_the_last_one(monkeypatch):
    moments = iter([0.0, 1.0, 1.5, 3.0, 7.0])  # start; host and device done, twice
    monkeypatch.setattr(gpu_parts.time, "perf_counter", lambda: next(moments))
    timer = gpu_parts.PartTimer(CPU)

    timer.end(Part.DATA)
    timer.end(Part.TOWERS)

    durations = timer.per_step(2)
    assert durations[Part.DATA] == Duration(seconds=0.75, host_s=0.5)
    assert durations[Part.TOWERS] == Duration(seconds=2.75, host_s=0.75)
    assert durations[Part.UPDATE].seconds == 0


def test_the_hooks_are_removed_after_the_parts_were_measured(log):
    training = Training(log, small_recipe(**DLRM))

    training.turn(2)

    assert not training._arm.dense._forward_hooks
    assert not training._arm.embeddings._forward_hooks
    assert not training._optimizer._optimizer_step_pre_hooks


def test_the_work_of_each_part_is_that_of_a_batch(log):
    recipe = small_recipe(**DLRM)
    arm, _ = workloads.training_arm(log, recipe, CPU)
    (example,) = Stream(log, "train", recipe.stream, [Seeds()]).batches(0, 1)

    found = gpu_parts.works(arm, recipe, example, CPU)

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


def test_the_limit_of_products_is_that_of_their_precision(log):
    recipe = small_recipe(**DLRM, engine={"matmul_precision": "high"})
    (example,) = Stream(log, "train", recipe.stream, [Seeds()]).batches(0, 1)

    found = gpu_parts.works(workloads.training_arm(log, recipe, CPU)[0], recipe, example, CPU)

    assert found[Part.TOWERS].limit is Limit.TF32


def test_shares_and_limits_are_taken_within_a_turn():
    turns = [a_turn(5, 1, 1e9), a_turn(15, 1, 1e9), a_turn(1, 1, 1e9)]

    shown = printed(parts_table(turns), limits_table(turns))

    assert "50 [16.7, 75]" in shown
    assert "0.2 [0.0667, 1] TFLOP/s" in shown
    assert "20 [6.67, 100] TF32 product" in shown
    assert "10 [6, 20]" in shown  # one after another
    assert "4 [4, 4]" in shown  # as the engine runs them
    assert "3 [3, 3]" in shown  # of which kernels
    assert "1e+03 [1e+03, 1e+03] GB/s" in shown


def test_all_of_it_runs_on_a_device(monkeypatch):
    monkeypatch.setattr(workloads, "TABLES", 3)
    monkeypatch.setattr(workloads, "ROWS", 50)
    monkeypatch.setattr(activations, "ACTIVATIONS", ("relu", "smelu(beta=0.5)"))
    console = Console(file=io.StringIO(), width=200)

    gpu.measure(console, CPU, set(gpu.Part), batches=4, turns=2, seconds=0.01)

    shown = console.file.getvalue()
    for line in (
        "local, TF32 ÷ plain TorchRec loop, TF32",
        "smelu(beta=1) ÷ relu",
        "embeddings forward",
        "host to device",
        "2 together ÷ 1 together",
        "smelu(beta=0.5)",
    ):
        assert line in shown


def test_every_replica_trained_together_counts(monkeypatch, log):
    monkeypatch.setattr(workloads, "study_seconds", lambda log, trials: 2.0)

    monkeypatch.setattr(gpu, "REPLICAS", (1, 8))

    assert gpu.fused_turn(log, CPU) == {"1 together": 0.5, "8 together": 4.0}


def test_throughput_on_a_gpu_synchronizes_half_way_and_at_the_end(monkeypatch):
    waited: list[int] = []
    throughput = harness.Throughput(CPU, 5)
    monkeypatch.setattr(
        harness, "wait_for", lambda device: waited.append(len(throughput._examples))
    )

    for _ in range(5):
        throughput(10)

    assert waited == [3, 5]
    assert np.isfinite(throughput.rate())


@needs_gpu
def test_on_a_gpu_all_of_it_runs():
    console = Console(file=io.StringIO(), width=200)

    gpu.measure(console, gpu.find_gpu(), set(gpu.Part), batches=4, turns=2, seconds=0.01)

    assert "SmeLU is Triton" in console.file.getvalue()
