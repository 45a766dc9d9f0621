"""The peers train the same net on the same examples, and say so where they cannot run."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from distrib.training.step import train_step
from jobs.benchmark import _criteo, _peer_dlrm, _peer_torchrec, _steps, peers
from jobs.benchmark._criteo import DENSE, HIDDEN, TABLES, WIDTH, recipe_of_model
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
def checkout(tmp_path):
    """What stands for a checkout of the DLRM reference trainer."""
    place = tmp_path / "dlrm"
    place.mkdir()
    (place / _peer_dlrm.SCRIPT).write_text(TRAINER)
    return place


def arm_of(log, recipe) -> Arm:
    return Arm(
        recipe.arm,
        recipe.model,
        log.schema,
        [Seeds()],
        lambda tables: fused_collection(tables, recipe.optimizer, CPU),
    )


def weights_of(model) -> dict[str, torch.Tensor]:
    """Return copies of a sharded model's weights, of which this process has all."""
    return {
        name: (one.local_shards()[0].tensor if hasattr(one, "local_shards") else one).clone()
        for name, one in model.state_dict().items()
    }


def test_the_reference_trainer_s_rate_is_of_its_second_half(checkout, log, tmp_path):
    reference = _peer_dlrm.prepared(checkout, log, tmp_path, 32)

    rate = _peer_dlrm.rate(
        reference, bottom="2-6-4", top="10-6-4-1", width=4, batch_size=32, optimizer="sgd"
    )

    assert rate == pytest.approx(32 / 0.008)


def test_the_reference_trainer_reads_the_same_examples(checkout, log, tmp_path):
    reference = _peer_dlrm.prepared(checkout, log, tmp_path, 32)

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


def test_a_trainer_that_does_not_start_is_told_with_its_last_words():
    with pytest.raises(ConfigError, match="last words: No module named 'tensorboard'"):
        _peer_dlrm.rate_in("", "Traceback\nNo module named 'tensorboard'\n", 32)


def test_the_nets_of_dlrm_have_the_same_parameters(log):
    recipe = small_recipe(**DLRM)

    ours = parameters(arm_of(log, recipe), None).total

    plain = _peer_torchrec.plain(log, recipe, CPU)
    assert sum(one.numel() for one in plain.parameters()) == ours


def test_the_top_tower_named_to_the_reference_trainer_is_ours():
    recipe = recipe_of_model("dlrm", {})
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
    assert first.shape == (1, peers._interactions(), HIDDEN[0])
    assert arm.tables[0].embedding_dim == WIDTH


def test_the_plain_loop_sees_the_batches_of_the_stream(log):
    recipe = small_recipe(**DLRM)

    theirs = list(_peer_torchrec.batches(log, 32))

    ours = list(Stream(log, "train", recipe.stream, [Seeds()]).batches())
    assert len(theirs) == len(ours)
    for (dense, sparse, labels), batch in zip(theirs, ours, strict=True):
        assert torch.equal(dense, batch.dense[0])
        assert torch.equal(labels, batch.labels[0])
        assert sparse.values().tolist() == batch.sparse.values().tolist()


def test_the_plain_loop_trains_tables_and_towers_in_a_process_group_that_it_ends(log):
    recipe = small_recipe(**DLRM)
    # Its few units can start so that none is ever above 0: TorchRec draws them from global state.
    with _peer_torchrec.process_group(CPU), global_draws("plain"):
        model = _peer_torchrec.parallel(log, recipe, CPU)
        before = weights_of(model)
        rate = _peer_torchrec.fit(model, log, recipe, CPU).rate()
        after = weights_of(model)

    assert rate > 0
    assert [name for name, one in after.items() if torch.equal(one, before[name])] == []
    assert len([name for name in after if "embedding_bags" in name]) == 3
    assert not torch.distributed.is_initialized()


def test_the_rate_of_ranks_is_what_they_tell_of_batches_shared_or_whole(log, monkeypatch):
    trained: list[tuple[str, int]] = []

    def train(log, trials):
        (recipe,) = [trial.recipe for trial in trials]
        trained.append((recipe.engine.name, recipe.stream.batch_size))
        return [SimpleNamespace(cost=SimpleNamespace(train_examples_per_second=len(trained)))]

    monkeypatch.setattr(_criteo, "train", train)

    found = {name: rate() for name, rate in peers._sync_contestants(log).items()}

    assert list(found.values()) == [1, 2, 3, 4]
    assert trained == [("local", 1024), ("sync", 1024), ("sync", 1024), ("sync", 2048)]
    assert {goal.of for goal in peers._SYNC_GOALS} < found.keys()
    assert {goal.to for goal in peers._SYNC_GOALS} == {"sync, 1 rank"}


def test_deepctr_that_is_not_installed_is_refused_by_name_and_left_out_of_all(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "deepctr_torch", None)
    console = Console(width=200)

    with pytest.raises(ConfigError, match=r'pip install "soloist\[peers\]" brings it'):
        peers.peers(part=[peers.Part.DEEPCTR])
    possible = peers._possible(None, None, console)

    assert possible == set(peers.Part) - {peers.Part.DEEPCTR}
    assert 'pip install "soloist[peers]"' in capsys.readouterr().out


def test_every_activation_trains_on_every_batch_and_the_first_turn_does_not_count(log, monkeypatch):
    trained: list[str] = []

    def counted(arm, *given, **named):
        trained.append(arm.config.activation)
        return train_step(arm, *given, **named)

    monkeypatch.setattr(_steps, "train_step", counted)

    turns = _steps.measure(log, small_recipe(stream={"batch_size": 32}))

    assert len(turns) == 1  # of 32 batches in turns of 16
    assert {trained.count(name) for name in _steps.ACTIVATIONS} == {32}
    assert trained[5] == _steps.ACTIVATIONS[1]
