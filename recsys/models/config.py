"""The models that an experiment can name, each with its own options and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveInt, Tag

from recsys.frozen import Frozen


class BuiltInConfig(Frozen):
    """What the models of this package have in common."""

    embedding_dim: int = Field(
        16, gt=0, multiple_of=4, description="columns of every table (FBGEMM: a multiple of 4)"
    )
    pooling: Literal["mean", "sum"] = Field("mean", description="of a multi-valued feature's rows")
    hidden: tuple[PositiveInt, ...] = Field((64, 32, 16), description="widths of the tower")
    layer_norm: bool = Field(True, description="layer norm on hidden layers, before activation")


class MLPConfig(BuiltInConfig):
    """All features side by side, through one tower."""

    name: Literal["mlp"] = "mlp"


class DLRMConfig(BuiltInConfig):
    """Dot products between all pairs of features, through a tower."""

    name: Literal["dlrm"] = "dlrm"
    bottom: tuple[PositiveInt, ...] = Field(
        (64,), description="hidden widths of the bottom tower over the dense features"
    )


class DCNv2Config(BuiltInConfig):
    """Low-rank cross layers, before or beside a tower."""

    name: Literal["dcnv2"] = "dcnv2"
    cross_layers: PositiveInt = Field(3, description="each raises the degree of crosses by one")
    rank: PositiveInt = Field(32, description="columns of U and V in each cross layer")
    structure: Literal["stacked", "parallel"] = Field(
        "stacked", description="stacked: the tower reads the crosses; parallel: the features"
    )


class DeepFMConfig(BuiltInConfig):
    """A factorisation machine beside a tower, on the same embedding rows."""

    name: Literal["deepfm"] = "deepfm"


class OwnConfig(Frozen):
    """A model of the user's: a function that makes it, and what it is called with."""

    name: str = Field(pattern=r"^[\w.]+:[\w.]+$", description="package.module:factory")
    embedding_dim: int | None = Field(
        None, gt=0, multiple_of=4, description="passed to the factory, which then has to take it"
    )
    options: dict[str, Any] = Field({}, description="more keyword arguments of the factory")
    replaces: str = Field(
        "relu",
        description="the activation of the module that an arm's takes the place of, "
        "where the factory takes no activation",
    )


MODEL_KINDS = {"mlp": MLPConfig, "dlrm": DLRMConfig, "dcnv2": DCNv2Config, "deepfm": DeepFMConfig}
"""The built-in models by name; any name with a colon is a user's own (``OwnConfig``)."""


def _tag(value: object) -> str:
    name = value.get("name", "mlp") if isinstance(value, Mapping) else getattr(value, "name", "")
    return "own" if ":" in str(name) else str(name)


ModelConfig = Annotated[
    Annotated[MLPConfig, Tag("mlp")]
    | Annotated[DLRMConfig, Tag("dlrm")]
    | Annotated[DCNv2Config, Tag("dcnv2")]
    | Annotated[DeepFMConfig, Tag("deepfm")]
    | Annotated[OwnConfig, Tag("own")],
    Discriminator(
        _tag,
        custom_error_type="model_name",
        custom_error_message=f"name: expected {', '.join(MODEL_KINDS)} or package.module:factory",
    ),
]
