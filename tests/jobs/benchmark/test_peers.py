"""The peers train the same model on the same examples; those not installed are named."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from distrib.training.step import train_step
from jobs.benchmark import peer_trainers, peers, workloads
from jobs.benchmark.workloads import DENSE, HIDDEN, TABLES, WIDTH, recipe_of
from recsys.cost import parameters
from recsys.data.schema import Schema, SparseFeature
from recsys.data.stream import Stream
from recsys.data.synthetic import Synthetic
from recsys.embeddings import fused_collection
from recsys.errors import ConfigError
from recsys.module import Arm
from recsys.seeds import Seeds, global_draws
from tests.support.logs import small_log, small_recipe

CPU = torch.device("cpu")
PLAIN = Synthetic(rows=1280, dense=2, cardinalities=(40, 12, 5), bag_cardinalities=())
DLRM = {
    "model": {"name": "dlrm", "embedding_dim": 4, "bottom": [6], "layer_norm": False},
    "stream": {"batch_size": 32, "shuffle": 0},
}
TRAINER = """
import os, sys
import numpy as np
given = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
examples = np.load(given["processed-data-file"])["y"]
assert os.environ["OMP_NUM_THREADS"] == "1" and "--print-time" in sys.argv
for it, ms in ((8, 80.0), (16, 20.0), (24, 10.0), (31, 6.0)):
    print(f"Finished training it {it}/{len(examples)} of epoch 0, {ms:.2f} ms/it, loss 0.5")
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp("peers"), PLAIN)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a fake checkout of the DLRM reference trainer, with batches of 32."""
    monkeypatch.setattr(peer_trainers, "BATCH", 32)
    place = tmp_path / "dlrm"
    place.mkdir()
    (place / peer_trainers.DLRM_SCRIPT).write_text(TRAINER)
    return place


def weights_of(model) -> dict[str, torch.Tensor]:
    """Return copies of a sharded model's weights, of which this process has all."""
    return {
        name: (one.local_shards()[0].tensor if hasattr(one, "local_shards") else one).clone()
        for name, one in model.state_dict().items()
    }


def test_the_reference_trainer_s_rate_is_of_its_second_half(checkout, log, tmp_path):
    reference = peer_trainers.write_for_dlrm(checkout, log, tmp_path)

    rate = peer_trainers.dlrm_rate(reference, "sgd")

    assert rate == pytest.approx(32 / 0.008)


def test_the_reference_trainer_reads_the_same_examples(checkout, log, tmp_path):
    reference = peer_trainers.write_for_dlrm(checkout, log, tmp_path)

    train = log.splits["train"]
    read = np.load(reference.file)
    (counts,) = np.load(tmp_path / "data_day_count.npz").values()
    np.testing.assert_allclose(np.log(read["X_int"] + 1), log.dense[: train.stop], atol=1e-5)
    np.testing.assert_array_equal(read["X_cat"], log.ids[: train.stop])
    np.testing.assert_array_equal(read["y"], log.label[: train.stop])
    assert read["counts"].tolist() == [41, 13, 6]
    assert len(counts) == 7
    assert counts.sum() == len(train)
    assert counts[-1] == 32


def test_a_folder_that_is_no_checkout_is_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(ConfigError, match=r"found no dlrm_s_pytorch.py, expected a checkout"):
        peers.peers(dlrm=tmp_path)


def test_a_trainer_that_does_not_start_is_reported_with_its_last_line():
    with pytest.raises(ConfigError, match="last line: No module named 'tensorboard'"):
        peer_trainers.rate_in_log("", "Traceback\nNo module named 'tensorboard'\n")


def test_the_models_of_dlrm_have_the_same_parameters(log):
    recipe = small_recipe(**DLRM)

    ours = parameters(workloads.training_arm(log, recipe, CPU)[0], None).total

    plain = peer_trainers.torchrec_dlrm(log, recipe, CPU)
    assert sum(one.numel() for one in plain.parameters()) == ours


def test_the_top_tower_named_to_the_reference_trainer_is_ours():
    recipe = recipe_of(model="dlrm")
    schema = Schema(
        dense=tuple(f"x{number}" for number in range(DENSE)),
        sparse=tuple(SparseFeature(name=f"c{at}", cardinality=4) for at in range(TABLES)),
    )

    arm = Arm(
        recipe.arm,
        recipe.model,
        schema,
        [Seeds()],
        lambda tables: fused_collection(tables, recipe.optimizer, CPU),
    )

    first = arm.dense.towers["model"].top.layers[0].weight
    assert first.shape == (1, peer_trainers.interactions(), HIDDEN[0])
    assert arm.tables[0].embedding_dim == WIDTH


def test_the_plain_loop_sees_the_batches_of_the_stream(log):
    recipe = small_recipe(**DLRM)

    theirs = list(peer_trainers.torchrec_batches(log, 32))

    ours = list(Stream(log, "train", recipe.stream, [Seeds()]).batches())
    assert len(theirs) == len(ours)
    for (dense, sparse, labels), batch in zip(theirs, ours, strict=True):
        assert torch.equal(dense, batch.dense[0])
        assert torch.equal(labels, batch.labels[0])
        assert sparse.values().tolist() == batch.sparse.values().tolist()


def test_the_plain_loop_trains_tables_and_towers_in_a_process_group_that_it_ends(log):
    recipe = small_recipe(**DLRM)
    # Its few units can start so that none is ever above 0: TorchRec draws them from global state.
    with peer_trainers.process_group(CPU), global_draws("plain"):
        model = peer_trainers.torchrec_model(log, recipe, CPU)
        before = weights_of(model)
        rate = peer_trainers.torchrec_fit(model, log, recipe, CPU).rate()
        after = weights_of(model)

    assert rate > 0
    assert [name for name, one in after.items() if torch.equal(one, before[name])] == []
    assert len([name for name in after if "embedding_bags" in name]) == 3
    assert not torch.distributed.is_initialized()


def test_the_rate_of_ranks_is_the_reported_one_with_batches_shared_or_full(log, monkeypatch):
    trained: list[tuple[str, int]] = []

    def train(log, trials):
        (recipe,) = [trial.recipe for trial in trials]
        trained.append((recipe.engine.name, recipe.stream.batch_size))
        return [SimpleNamespace(cost=SimpleNamespace(train_examples_per_second=len(trained)))]

    monkeypatch.setattr(workloads, "train", train)

    found = {name: rate() for name, rate in peers.sync_contestants(log).items()}

    assert list(found.values()) == [1, 2, 3, 4]
    assert trained == [("local", 1024), ("sync", 1024), ("sync", 1024), ("sync", 2048)]
    assert {goal.contestant for goal in peers.SYNC_GOALS} < found.keys()
    assert {goal.reference for goal in peers.SYNC_GOALS} == {"sync, 1 rank"}


def test_deepctr_that_is_not_installed_is_refused_by_name_and_skipped_otherwise(
    monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "deepctr_torch", None)
    console = Console(width=200)

    with pytest.raises(ConfigError, match=r'install it with pip install "soloist\[peers\]"'):
        peers.peers(part=[peers.Part.DEEPCTR])
    possible = peers.available_parts(None, console)

    assert possible == set(peers.Part) - {peers.Part.DEEPCTR}
    assert 'pip install "soloist[peers]"' in capsys.readouterr().out


def test_every_activation_trains_on_every_batch_and_the_first_turn_does_not_count(log, monkeypatch):
    trained: list[str] = []

    def counted(arm, *given, **named):
        trained.append(arm.config.activation)
        return train_step(arm, *given, **named)

    monkeypatch.setattr(workloads, "train_step", counted)

    turns = workloads.measure_activations(log, small_recipe(stream={"batch_size": 32}))

    assert len(turns) == 1  # of 32 batches in turns of 16
    assert {trained.count(name) for name in workloads.ACTIVATIONS} == {32}
    assert trained[5] == workloads.ACTIVATIONS[1]
