"""The configurations of the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from recsys.frozen import Few, Frozen, Integer, Widths


class BuiltInConfig(Frozen):
    """The fields that all built-in models share."""

    embedding_dim: Integer = Field(
        16,
        gt=0,
        le=65_536,
        multiple_of=4,
        description="columns of every embedding table; FBGEMM needs a multiple of 4",
    )
    pooling: Literal["mean", "sum"] = Field(
        "mean", description="pooling of the rows of a multi-valued feature"
    )
    hidden: Widths = Field((64, 32, 16), description="widths of the tower's hidden layers")
    layer_norm: bool = Field(
        True, description="apply layer normalization in hidden layers, before the activation"
    )


class MLPConfig(BuiltInConfig):
    """The concatenated features through one tower."""

    name: Literal["mlp"] = Field("mlp", description="selects this model")


class DLRMConfig(BuiltInConfig):
    """Dot products of all pairs of features through a tower (Naumov et al. 2019)."""

    name: Literal["dlrm"] = Field("dlrm", description="selects this model")
    bottom: Widths = Field(
        (64,), description="widths of the hidden layers of the bottom tower (dense features)"
    )


class DCNv2Config(BuiltInConfig):
    """Low-rank cross layers before or beside a tower (Wang et al. 2021)."""

    name: Literal["dcnv2"] = Field("dcnv2", description="selects this model")
    cross_layers: Integer = Field(3, gt=0, le=100, description="number of cross layers")
    rank: Few = Field(32, description="rank of the weight matrices of the cross layers")
    structure: Literal["stacked", "parallel"] = Field(
        "stacked", description="input of the tower; stacked: the crosses; parallel: the features"
    )


class DeepFMConfig(BuiltInConfig):
    """A factorization machine beside a tower, on the same embeddings (Guo et al. 2017)."""

    name: Literal["deepfm"] = Field("deepfm", description="selects this model")


class CustomModelConfig(Frozen):
    """A custom model: the user's factory function and its arguments."""

    name: str = Field(
        pattern=r"^[\w.]+:[\w.]+$", description="the factory, as package.module:factory"
    )
    embedding_dim: Integer | None = Field(
        None,
        gt=0,
        le=65_536,
        multiple_of=4,
        description="passed to the factory if it is set; columns of the embedding tables",
    )
    options: dict[str, JsonValue] = Field({}, description="other keyword arguments of the factory")
    replaces: str = Field(
        "relu",
        description="activation that is replaced by the arm's, if the factory does not take an "
        "activation",
    )


MODEL_KINDS: dict[str, type[BuiltInConfig]] = {
    "mlp": MLPConfig,
    "dlrm": DLRMConfig,
    "dcnv2": DCNv2Config,
    "deepfm": DeepFMConfig,
}
"""The built-in models by name; any name with a colon is a user's own (``CustomModelConfig``)."""


def _tag(value: object) -> str:
    name = value.get("name", "mlp") if isinstance(value, Mapping) else getattr(value, "name", "")
    return "own" if ":" in str(name) else str(name)


ModelConfig = Annotated[
    Annotated[MLPConfig, Tag("mlp")]
    | Annotated[DLRMConfig, Tag("dlrm")]
    | Annotated[DCNv2Config, Tag("dcnv2")]
    | Annotated[DeepFMConfig, Tag("deepfm")]
    | Annotated[CustomModelConfig, Tag("own")],
    Discriminator(
        _tag,
        custom_error_type="model_name",
        custom_error_message=f"name: expected {', '.join(MODEL_KINDS)} or package.module:factory",
    ),
]
