"""What a study of an experiment compares, and the studies that are refused on loading."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.results.study_design import StudyDesign
from jobs.experiment.loading import parse_experiment
from jobs.experiment.planning import manifest, plan
from jobs.experiment.schema import arm_fields, study_design
from recsys.errors import ConfigError
from tests.support.experiments import small_experiment
from tests.support.logs import small_log

ARMS = {
    "relu_1": {},
    "relu_2": {"stream": {"epochs": 2}},
    "smelu_1": {"activation": "smelu(beta=1)"},
    "smelu_2": {"activation": "smelu(beta=1)", "stream": {"epochs": 2}},
    "narrow": {"model": {"hidden": [8]}, "stream": {"epochs": 4}},
}
EPOCHS = {"question": "Q?", "x": "stream.epochs", "series": ["activation.name", "model.hidden"]}


def document(study: dict[str, Any], arms: dict[str, Any] | None = None) -> dict[str, Any]:
    return small_experiment("log", baseline="relu_1", arms=arms or ARMS, study=study)


def design(study: dict[str, Any], arms: dict[str, Any] | None = None) -> StudyDesign:
    experiment = parse_experiment(document(study, arms))
    assert experiment.study is not None
    return study_design(experiment, experiment.study)


def places(found: StudyDesign) -> dict[str, tuple[str, object, str | None]]:
    return {point.arm: (point.series, point.x, point.reference) for point in found.points}


def test_all_arms_are_compared_with_the_baseline():
    assert places(design(EPOCHS)) == {
        "relu_1": ("relu", 1.0, None),
        "relu_2": ("relu", 2.0, "relu_1"),
        "smelu_1": ("smelu", 1.0, "relu_1"),
        "smelu_2": ("smelu", 2.0, "relu_1"),
        "narrow": ("relu hidden 8", 4.0, "relu_1"),
    }


def test_another_arm_may_be_the_reference():
    found = design(EPOCHS | {"reference": "smelu_2"})
    assert found.reference == "smelu_2"
    assert [point.reference for point in found.points] == [
        "smelu_2",
        "smelu_2",
        "smelu_2",
        None,
        "smelu_2",
    ]


def test_a_series_may_be_the_reference_of_all_others_at_the_same_place():
    found = places(design(EPOCHS | {"reference_series": "relu"}))
    assert {arm: reference for arm, (_, _, reference) in found.items()} == {
        "relu_1": None,
        "relu_2": None,
        "smelu_1": "relu_1",
        "smelu_2": "relu_2",
        "narrow": None,
    }


def test_an_arm_without_the_field_is_a_series_of_its_own_without_a_place():
    arms = {
        "relu_1": {},
        "half": {"activation": "smelu(beta=0.5)"},
        "one": {"activation": "SmeLU(beta=1)"},
    }
    found = design({"question": "Q?", "x": "activation.beta", "series": "activation.name"}, arms)
    assert places(found) == {
        "relu_1": ("relu_1", None, None),
        "half": ("smelu", 0.5, "relu_1"),
        "one": ("smelu", 1.0, "relu_1"),
    }


def test_arms_alone_are_compared_by_name():
    found = design({"question": "Q?"})
    assert found.series == ("",)
    assert [point.x for point in found.points] == list(ARMS)


def test_every_kind_of_field_can_be_studied():
    arms = {"relu_1": {}, "both": {"kind": "self_ensemble", "vary": ["shuffle", "init"]}}
    fields = arm_fields("both", parse_experiment(document({"question": "Q?"}, arms)).arms["both"])
    expected = {
        "arm": "both",
        "kind": "self_ensemble",
        "components": 3.0,
        "loss": "component",
        "activation": "relu",
        "activation.name": "relu",
        "vary": "shuffle + init",
        "replicas": 2.0,
        "model.hidden": "6 + 4",
        "model.layer_norm": "layer_norm true",
        "stream.shuffle": 50.0,
        "optimizer.dense": "adagrad",
        "engine.name": "local",
    }
    assert {key: fields[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("study", "line"),
    [
        ({"x": "stream.epochs"}, "study.question: missing"),
        ({"question": ""}, "study.question: found '', expected"),
        ({"question": "Q?", "y": "arm"}, "study.y: unknown"),
        (
            EPOCHS | {"x": "stream.epoch"},
            "study.x: 'stream.epoch' is no field of an arm, did you mean 'str",
        ),
        (
            EPOCHS | {"series": "kin"},
            "study.series: 'kin' is no field of an arm, did you mean 'kind'?",
        ),
        (EPOCHS | {"reference": "relu"}, "study.reference 'relu': unknown, did you mean 'relu_"),
        (EPOCHS | {"reference_series": "rell"}, "study.reference_series 'rell': unknown, did you"),
        (
            EPOCHS | {"reference": "relu_1", "reference_series": "relu"},
            "study: found reference and reference_series, expected one of them",
        ),
        (
            {"question": "Q?", "x": "components"},
            "study.x: components is 1 in all arms that have it, expected a field in which arms dif",
        ),
        (
            {"question": "Q?", "x": "stream.epochs"},
            "study.series: relu_1 and smelu_1 both have stream.epochs 1, expected fields in ",
        ),
        (
            EPOCHS | {"reference_series": "relu hidden 8"},
            "study.reference_series: no arm of another series has the stream.epochs of one of",
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_line(study, line):
    with pytest.raises(ConfigError) as refused:
        parse_experiment(document(study))
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_the_manifest_holds_the_design_where_all_its_arms_are_planned(tmp_path):
    experiment = parse_experiment(document(EPOCHS))
    planned = plan(experiment, small_log(tmp_path))
    written = manifest(experiment, planned)["study"]
    assert written == design(EPOCHS).model_dump(mode="json")
    # A search plans other arms.
    assert manifest(experiment, planned[:1])["study"] is None
