"""The arms that a search makes, and searches that cannot be."""

from __future__ import annotations

import pytest

from jobs.experiment.loading import parse_experiment
from jobs.tuning.policy import with_values
from recsys.errors import ConfigError
from tests.support.experiments import small_experiment

SEARCH = {"arm": "smelu", "low": 0.5, "high": 8, "epsilon": 0.001}


def searched(**changes: object) -> dict[str, object]:
    return small_experiment("log", search=SEARCH | changes)


def test_each_value_becomes_an_arm_that_differs_in_it_alone():
    experiment = parse_experiment(searched())

    found = with_values(experiment, {0.5: 4, 2.5: 8}, 16)

    smelu = experiment.arms["smelu"].recipe
    counts = {name: arm.replication.replicas for name, arm in found.arms.items()}
    changed = found.arms["smelu@2.5"].recipe
    assert counts == {"relu": 16, "smelu@0.5": 4, "smelu@2.5": 8}
    assert changed.arm.activation == "smelu(beta=2.5)"
    assert changed.model_copy(update={"arm": smelu.arm}) == smelu
    assert found.arms["relu"].recipe == experiment.arms["relu"].recipe


def test_other_parameters_of_an_activation_stay():
    document = searched(parameter="activation.alpha")
    document["arms"]["smelu"]["activation"] = "gsmelu(alpha=1, beta=3)"

    found = with_values(parse_experiment(document), {2: 4}, 4)

    assert found.arms["smelu@2"].recipe.arm.activation == "gsmelu(alpha=2, beta=3)"


@pytest.mark.parametrize(
    ("parameter", "arm", "read"),
    [
        ("optimizer.dense_learning_rate", {}, lambda r: r.optimizer.dense_learning_rate),
        ("strength", {"kind": "anti_distilled"}, lambda r: r.arm.strength),
        ("engine.delta_scale", {"engine": {"name": "async"}}, lambda r: r.engine.delta_scale),
    ],
)
def test_any_number_of_an_arm_can_be_searched(parameter, arm, read):
    document = searched(parameter=parameter, low=0.1, high=0.9)
    document["arms"]["smelu"] |= arm

    found = with_values(parse_experiment(document), {0.25: 4}, 4)

    assert read(found.arms["smelu@0.25"].recipe) == 0.25


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arm": "smelo"}, "search.arm smelo: unknown, did you mean 'smelu'?"),
        ({"parameter": "activation.gamma"}, "smelu has no parameter 'gamma'"),
        (
            {"parameter": "model.embedding_dim"},
            "embedding_dim: found 0.5, expected a valid",
        ),
        ({"parameter": "strength"}, "arms.smelu.strength: unknown"),
        ({"parameter": "Beta"}, "search.parameter: found 'Beta'"),
        ({"low": 9}, "low: found 9, expected less than high, 8"),
        ({"low": 0}, "low: found 0, expected more than 0 on a log scale"),
        ({"low": -1, "scale": "linear"}, "search.parameter activation.beta at -1"),
        ({"epsilon": 0}, "search.epsilon: found 0"),
        ({"points": 2}, "search.points: found 2"),
        ({"replicas": 2}, "search.replicas: found 2"),
        ({"max_replicas": 3}, "max_replicas: found 3, expected at least replicas, 4"),
        ({"confirm": 2}, "confirm: found 2, expected 0 or at least 3"),
        ({"sampler": "optuan"}, "did you mean 'optuna'?"),
        ({"epsilom": 1}, "search.epsilom: unknown, did you mean 'epsilon'?"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_starts(changes, says):
    with pytest.raises(ConfigError) as refused:
        parse_experiment(searched(**changes))

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
