"""docs/experiment-reference.md, and the descriptions it is made from."""

from __future__ import annotations

import yaml

from jobs.experiment.loading import KINDS, parse_experiment
from jobs.experiment.schema import DataConfig, Defaults, Replication, SearchConfig, Settings, Study
from jobs.reference import EXAMPLE, REFERENCE, reference
from recsys.engines import DELAY_KINDS, ENGINE_KINDS, Resources
from recsys.models.config import MODEL_KINDS, CustomModelConfig

MODELS = [
    Settings, DataConfig, Defaults, Replication, SearchConfig, Study, Resources, CustomModelConfig,
    *(type(section) for _, section in Defaults()),
    *KINDS.values(), *ENGINE_KINDS.values(), *DELAY_KINDS.values(), *MODEL_KINDS.values(),
]  # fmt: skip


def test_the_reference_is_current():
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "run make reference"


def test_its_example_is_an_experiment():
    experiment = parse_experiment(yaml.safe_load(EXAMPLE))

    assert list(experiment.arms) == ["relu", "smelu", "async_smelu", "ensemble"]


def test_every_field_has_a_description_and_a_row():
    text = reference()

    fields = [(model, name, info) for model in MODELS for name, info in model.model_fields.items()]

    assert [
        f"{model.__name__}.{name}" for model, name, info in fields if not info.description
    ] == []
    assert [name for _, name, _ in fields if f"| `{name}` |" not in text] == []
