"""Models as an experiment names them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from recsys.models.config import MODEL_KINDS, CustomModelConfig, MLPConfig, ModelConfig

MODEL = TypeAdapter(ModelConfig)
OWN = {"name": "a.b:make", "embedding_dim": 8, "options": {"hidden": [3]}, "replaces": "gelu"}


@pytest.mark.parametrize("fields", [*({"name": name} for name in MODEL_KINDS), OWN])
def test_a_model_written_down_is_read_back(fields) -> None:
    model = MODEL.validate_python(fields)

    assert MODEL.validate_python(MODEL.dump_python(model, mode="json")) == model


def test_a_name_chooses_the_options() -> None:
    kinds = [type(MODEL.validate_python({"name": name})) for name in MODEL_KINDS]

    assert kinds == list(MODEL_KINDS.values())
    assert isinstance(MODEL.validate_python({}), MLPConfig)
    assert isinstance(MODEL.validate_python(OWN), CustomModelConfig)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "mlpp"}, "name: expected mlp, dlrm, dcnv2, deepfm or package.module:factory"),
        ({"name": "mlp", "bottom": [8]}, "bottom"),
        ({"name": "dcnv2", "structure": "crossed"}, "'stacked' or 'parallel'"),
        ({"name": "deepfm", "embedding_dim": 6}, "multiple of 4"),
        ({"name": "a.b:make", "hidden": [8]}, "hidden"),
        ({"name": "a b:make"}, "pattern"),
    ],
)
def test_an_option_of_another_model_is_refused(fields, message) -> None:
    with pytest.raises(ValidationError, match=message):
        MODEL.validate_python(fields)
