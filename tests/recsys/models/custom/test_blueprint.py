"""What is asked of a user's model, and what is done with it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from recsys.activations import SmeLU
from recsys.arms import Group
from recsys.data.schema import Schema, SparseFeature
from recsys.errors import ConfigError
from recsys.models.config import CustomModelConfig
from recsys.models.custom.blueprint import custom_blueprint

SCHEMA = Schema(
    dense=("x0", "x1"),
    sparse=(
        SparseFeature(name="user", cardinality=9),
        SparseFeature(name="item", cardinality=5),
    ),
    group=None,
)
GROUP = Group(name="model", towers=1, table_sets=1, activation="relu", embedding_dim=None)
SMOOTH = dataclasses.replace(GROUP, activation="smelu(beta=0.5)")


def _blueprint(factory: str, group: Group = GROUP, module: str = "custom_model", **fields: object):
    config = CustomModelConfig(name=f"tests.support.{module}:{factory}", **fields)
    group = dataclasses.replace(group, embedding_dim=config.embedding_dim)
    return custom_blueprint(config, SCHEMA, group)


def _rows(blueprint, *path) -> dict[str, torch.Tensor]:
    return dict(blueprint.initial_rows(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.models:make", "model.name: no module 'no_such_package' to import"),
        ("builtins:dict", "model.name: found builtins:dict, a module of Python itself"),
        ("builtins:exit", "model.name: found builtins:exit, a module of Python itself"),
        ("os.path:join", "model.name: found os.path:join, a module of Python itself"),
        ("tests.support.own_modell:small", "no module 'tests.support.own_modell' to import"),
        (
            "tests.support.custom_model:smal",
            "model.name: tests.support.custom_model has no 'smal', did you mean 'small'?",
        ),
        (
            "tests.support.wrong_models:NUMBER",
            "model.name: tests.support.wrong_models:NUMBER is a int, expected a function",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(name, message) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as refusal:
        custom_blueprint(CustomModelConfig(name=name), SCHEMA, GROUP)

    assert message in str(refusal.value)


def test_a_module_that_fails_to_import_another_shows_the_users_own_error(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "imports_what_is_not_there.py").write_text("import numpyy\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="numpyy"):
        custom_blueprint(CustomModelConfig(name="imports_what_is_not_there:make"), SCHEMA, GROUP)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("returns_nothing", "returned None, expected a torch.nn.Module with .embeddings and"),
        ("lacks_tables", ".embeddings is None, expected a torchrec EmbeddingBagCollection"),
        ("weighted", ".embeddings is weighted, but examples have no weights"),
        ("lacks_network", ".dense is None, expected a torch.nn.Module"),
        ("misspells_feature", "table 't': the data has no sparse feature 'userx', did you mean"),
        ("too_few_rows", "table 't': 3 rows for feature 'user', expected at least its cardin"),
        ("odd_width", "table 't': embedding_dim 6, expected a multiple of 4"),
        ("half_precision", "table 't': data type FP16, expected FP32"),
        ("nothing_to_train", ".dense has no parameters to train"),
        ("lazy", ".dense: network.weight has no shape yet, expected no lazy modules"),
        (
            "two_logits",
            ".dense returned torch.float32 of shape (4, 2) for 4 examples, "
            "expected float logits (4,) or (4, 1)",
        ),
        ("squeezes", "of shape () for 1 examples, expected float logits (1,) or (1, 1)"),
    ],
)
def test_what_is_no_component_is_refused_with_what_was_found_and_expected(factory, message) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as refusal:
        _blueprint(factory, module="wrong_models")

    assert f"model tests.support.wrong_models:{factory}: " in str(refusal.value)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": {"hiden": 3}}, "got an unexpected keyword argument 'hiden'; it takes schema"),
        ({"options": {"activation": "relu"}}, "activation cannot be set in options"),
        ({"options": {"embedding_dim": 8}}, "expected model.embedding_dim"),
    ],
)
def test_options_that_the_function_cannot_be_given_are_refused(fields, message) -> None:
    with pytest.raises(ConfigError, match=f"model.options: .*{message}"):
        _blueprint("small", **fields)


def test_an_embedding_dim_needs_a_function_that_takes_it() -> None:
    with pytest.raises(
        ConfigError, match=("embedding_dim is 8, and the factory does not accept embedd")
    ):
        _blueprint("moody", embedding_dim=8)


def test_two_heads_need_a_function_that_takes_heads() -> None:
    with pytest.raises(ConfigError, match="heads is 2, and the factory does not accept heads"):
        _blueprint("small", dataclasses.replace(GROUP, heads=2))


def test_options_and_width_reach_the_function() -> None:
    blueprint = _blueprint("small", embedding_dim=12, options={"hidden": 7})

    weights = blueprint.towers([("a",)]).state_dict()

    assert [table.embedding_dim for table in blueprint.tables] == [12, 12]
    assert weights["frame.dense.network.0.weight"].shape == (1, 7, 2 + 2 * 12)


def test_the_activation_of_the_arm_takes_the_place_of_relu() -> None:
    towers = _blueprint("small", SMOOTH).towers([("a",), ("b",)])

    (activation,) = (one for one in towers.modules() if isinstance(one, SmeLU | nn.ReLU))
    assert repr(activation) == "SmeLU(beta=0.5)"


def test_replaces_names_the_activation_whose_place_the_arms_takes() -> None:
    towers = _blueprint("gelu", SMOOTH, module="wrong_models", replaces="gelu").towers([("a",)])

    assert [type(one) for one in towers.frame.dense.network] == [nn.Linear, SmeLU, nn.Linear]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("gelu", "activation smelu(beta=0.5) found no relu in .dense to replace"),
        ("functional", "activation smelu(beta=0.5) cannot replace network: torch.nn.functional"),
    ],
)
def test_an_activation_that_cannot_be_replaced_whole_is_refused(factory, message) -> None:
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as refusal:
        _blueprint(factory, SMOOTH, module="wrong_models")

    assert message in str(refusal.value)


def test_an_arm_of_the_activation_that_the_model_has_leaves_it_as_written() -> None:
    towers = _blueprint("functional", module="wrong_models").towers([("a",)])

    assert towers(torch.zeros(1, 3, 2), torch.zeros(1, 3, 8)).shape == (1, 3, 1)


def test_a_path_decides_the_weights_and_leaves_the_global_generator_alone() -> None:
    blueprint = _blueprint("small")
    before = torch.get_rng_state()

    here, there = _rows(blueprint, 1, "model"), _rows(blueprint, 2, "model")
    towers = blueprint.towers([(1, "model"), (2, "model")]).state_dict()

    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(_rows(blueprint, 1, "model")["user"], here["user"])
    assert not torch.equal(here["user"], there["user"])
    alone = blueprint.towers([(2, "model")]).state_dict()
    for name, weight in alone.items():
        assert torch.equal(weight[0], towers[name][1]), name


def test_rows_are_those_that_the_users_collection_starts_from() -> None:
    rows = _rows(_blueprint("small"), 1, "model")

    assert rows["user"].abs().max() <= 9**-0.5
    assert rows["user"].unique().numel() == rows["user"].numel()


def test_tables_without_memory_are_filled_by_their_own_init_fn() -> None:
    blueprint = _blueprint("on_meta", module="wrong_models")

    rows, again = _rows(blueprint, 1, "model"), _rows(blueprint, 1, "model")

    assert rows["user"].abs().max() > 1  # normal; the default would be uniform in ±1/3
    assert torch.equal(rows["user"], again["user"])
    assert not torch.equal(rows["user"][:5], rows["item"])


def test_a_network_is_vectorised_unless_it_cannot_be() -> None:
    running = {
        factory: (found.vectorised, found.draws)
        for factory in ("small", "torchrec_dlrm", "moody", "forgetful")
        for found in [_blueprint(factory).stacking]
    }

    assert running == {
        "small": (True, False),
        "torchrec_dlrm": (True, False),
        "moody": (False, False),
        "forgetful": (False, True),
    }
