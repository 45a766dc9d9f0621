"""The six arms: which towers and tables each has, how it is trained, and what of it is served.

Every arm is a value (part of an experiment's YAML) with the same four answers, so that no engine
knows one arm from another: ``layout`` (groups of towers and their tables), ``phases``,
``objective`` and ``served``. Formulas: DEFINITIONS, "Arms".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from recsys.activations import get_activation
from recsys.frozen import Frozen, Integer, Number, Share
from recsys.losses import (
    correlation_loss,
    distillation_loss,
    label_loss,
    mean_logit_loss,
    towards_mean_loss,
    towards_others_loss,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """K towers of one shape and activation, and the sets of tables that they read.

    ``table_sets`` is K where every tower has tables of its own, 1 where all share one set.
    ``embedding_dim`` is None where a user's own model decides the widths of its tables.
    """

    name: str
    towers: int
    table_sets: int
    activation: str
    embedding_dim: int | None
    heads: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One pass over the stream: the groups that take part, and its name for the objective.

    A group that took part before goes on from its weights, with fresh optimiser state.
    """

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What answers requests: the mean logit of some towers of one group, from one head."""

    group: str
    towers: tuple[int, ...]
    head: int = 0


Logits = Mapping[str, Tensor]
"""Group name to logits ``(R, K, B, heads)``."""


def _known_activation(name: str) -> str:
    get_activation(name)
    return name


Activation = Annotated[str, AfterValidator(_known_activation)]
Components = Annotated[Integer, Field(ge=2, le=1000)]
Strength = Annotated[Number, Field(ge=0, le=1_000_000)]
_ACTIVATION = "activation of the towers, as name or name(parameter=value)"
_COMPONENTS = "number of components (K)"
_LOSS = "component: each component's label loss; mean: the label loss of the mean logit"
_SELECTS = "selects this arm"


class _Arm(Frozen):
    activation: Activation = Field("relu", description=_ACTIVATION)
    components: int
    couples_examples: ClassVar[bool] = False
    """Whether the loss is more than a mean over the examples of a mini-batch"""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Passes over the stream, in order."""
        return (Phase(name="joint", groups=("model",)),)

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        """Return the groups of towers at a table width of ``embedding_dim``."""
        raise NotImplementedError

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        """Return the training loss of each replica, ``(R,)``.

        ``labels`` is ``(R, B)``; ``progress`` the share of the stream seen, in [0, 1).
        """
        raise NotImplementedError

    @property
    def served(self) -> Served:
        return Served(group="model", towers=tuple(range(self.components)))

    def served_logits(self, logits: Logits) -> Tensor:
        """Return the logit that would be served, ``(R, B)``."""
        served = self.served
        found = logits[served.group][..., served.head]
        # One by one: a list as an index is copied to the device, and the host waits for that.
        return torch.stack([found[:, tower] for tower in served.towers], 1).mean(1)

    def _group(self, towers: int, table_sets: int, embedding_dim: int | None) -> Group:
        return Group(
            name="model",
            towers=towers,
            table_sets=table_sets,
            activation=self.activation,
            embedding_dim=embedding_dim,
        )


class Single(_Arm):
    """One model with the label loss."""

    kind: Literal["single"] = Field("single", description=_SELECTS)
    components: Literal[1] = Field(1, description=_COMPONENTS)

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        return (self._group(1, 1, embedding_dim),)

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        return label_loss(logits["model"][..., 0], labels).sum(1)


class _Components(_Arm):
    """K models with tables of their own."""

    components: Components = Field(3, description=_COMPONENTS)
    width: Literal["full", "equal_lookups_bytes"] = Field(
        "full",
        description="width of each component's tables; full: embedding_dim; "
        "equal_lookups_bytes: embedding_dim / K",
    )

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        if self.width == "equal_lookups_bytes":
            if embedding_dim is None:
                raise ValueError(
                    "width equal_lookups_bytes cuts embedding_dim, and this model has none; "
                    "expected model.embedding_dim, and a factory that takes it"
                )
            if embedding_dim % (4 * self.components):
                raise ValueError(
                    f"width equal_lookups_bytes cuts embedding_dim {embedding_dim} into "
                    f"{self.components}: expected a multiple of {4 * self.components}"
                )
            embedding_dim //= self.components
        return (self._group(self.components, self.components, embedding_dim),)


class Ensemble(_Components):
    """K models; their mean logit is served."""

    kind: Literal["ensemble"] = Field("ensemble", description=_SELECTS)
    loss: Literal["component", "mean"] = Field("component", description=_LOSS)

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        towers = logits["model"][..., 0]
        if self.loss == "mean":
            return mean_logit_loss(towers, labels)
        return label_loss(towers, labels).sum(1)


class AntiDistilled(_Components):
    """An ensemble whose components are pushed apart by a penalty on their correlation."""

    kind: Literal["anti_distilled"] = Field("anti_distilled", description=_SELECTS)
    couples_examples: ClassVar[bool] = True
    strength: Strength = Field(0.05, description="weight of the squared correlation (λ)")

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        towers = logits["model"][..., 0]
        return label_loss(towers, labels).sum(1) + self.strength * correlation_loss(towers)


class SelfEnsemble(_Arm):
    """K towers on one set of tables; their mean logit is served."""

    kind: Literal["self_ensemble"] = Field("self_ensemble", description=_SELECTS)
    components: Components = Field(3, description=_COMPONENTS)
    loss: Literal["component", "mean", "mean_distil"] = Field(
        "component",
        description=f"{_LOSS}; mean_distil: component, with distillation from the mean",
    )
    strength: Strength = Field(1.0, description="weight of the distillation of mean_distil (λ)")

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        return (self._group(self.components, 1, embedding_dim),)

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        towers = logits["model"][..., 0]
        if self.loss == "mean":
            return mean_logit_loss(towers, labels)
        loss = label_loss(towers, labels).sum(1)
        if self.loss == "mean_distil":
            loss = loss + self.strength * towards_mean_loss(towers)
        return loss


class Distilled(_Arm):
    """A student that learns from the labels and from an ensemble; only the student is served.

    Training reads (K + 1) T tables an example. An offline teacher is read in its own pass and again
    in its student's: (2K + 1) T.
    """

    kind: Literal["distilled"] = Field("distilled", description=_SELECTS)
    components: Components = Field(3, description="number of components of the teacher (K)")
    teacher_activation: Activation = Field("relu", description="activation of the teacher")
    teacher: Literal["online", "offline"] = Field(
        "online", description="online: trained with the student in one pass; offline: before it"
    )
    strength: Share = Field(0.5, description="weight of the teacher against the label (λ)")
    heads: Literal[1, 2] = Field(
        1, description="heads of the student; 2: a served one for the label, one for the teacher"
    )

    @property
    def phases(self) -> tuple[Phase, ...]:
        both = ("teacher", "student")
        if self.teacher == "online":
            return (Phase(name="joint", groups=both),)
        return (Phase(name="teacher", groups=("teacher",)), Phase(name="student", groups=both))

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        teacher = Group(
            name="teacher",
            towers=self.components,
            table_sets=self.components,
            activation=self.teacher_activation,
            embedding_dim=embedding_dim,
        )
        student = Group(
            name="student",
            towers=1,
            table_sets=1,
            activation=self.activation,
            embedding_dim=embedding_dim,
            heads=self.heads,
        )
        return teacher, student

    @property
    def served(self) -> Served:
        return Served(group="student", towers=(0,), head=0)

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        teacher = logits["teacher"][..., 0]
        teacher_loss = label_loss(teacher, labels).sum(1)
        if phase == "teacher":
            return teacher_loss
        to_label = logits["student"][..., 0]
        to_teacher = logits["student"][..., self.heads - 1]
        target = torch.sigmoid(teacher.mean(1, keepdim=True))
        from_label = (1 - self.strength) * label_loss(to_label, labels).sum(1)
        from_teacher = self.strength * distillation_loss(to_teacher, target).sum(1)
        if phase == "student":
            return from_label + from_teacher
        return teacher_loss + from_label + from_teacher


class Codistilled(_Arm):
    """K models that learn from each other; one of them is served."""

    kind: Literal["codistilled"] = Field("codistilled", description=_SELECTS)
    components: Components = Field(2, description=_COMPONENTS)
    strength: Strength = Field(0.5, description="weight of the distillation from the others (λ)")
    burn_in: Share = Field(
        0.1, description="fraction of the stream before the models learn from each other"
    )

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        return (self._group(self.components, self.components, embedding_dim),)

    @property
    def served(self) -> Served:
        return Served(group="model", towers=(0,))

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        towers = logits["model"][..., 0]
        loss = label_loss(towers, labels).sum(1)
        if progress >= self.burn_in:
            loss = loss + self.strength * towards_others_loss(towers)
        return loss


ArmConfig = Single | Ensemble | SelfEnsemble | AntiDistilled | Distilled | Codistilled
