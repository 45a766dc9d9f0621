"""The six arms and their losses.

An arm is a configuration value with one interface, so that engines are independent of the arm:
``layout`` (groups of towers and their tables), ``phases``, ``objective`` and ``served``.

In losses, logits are ``(R, K, B)`` float: R replicas, K components, B examples. A loss returns
``(R,)``: replicas never share a term, so the gradient of a replica does not depend on the others.
Component losses are summed, so a component gets the gradient that it would get alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from recsys.activations import get_activation
from recsys.frozen import Frozen, Integer, Number, Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """K towers of one shape and activation, and their table sets.

    ``table_sets`` is K if every tower has its own tables, 1 if all share one set. ``embedding_dim``
    is None if a custom model decides the widths of its tables.
    """

    name: str
    towers: int
    table_sets: int
    activation: str
    embedding_dim: int | None
    heads: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One pass over the stream that trains some groups.

    A group of an earlier phase starts from its weights, with fresh optimizer state.
    """

    name: str
    groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The served prediction: the mean logit of some towers of one group, from one head."""

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
    """Whether the loss is not a mean over the examples of a mini-batch"""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Passes over the stream, in order."""
        return (Phase(name="joint", groups=("model",)),)

    def layout(self, embedding_dim: int | None) -> tuple[Group, ...]:
        """Return the groups of towers for tables of width ``embedding_dim``."""
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
        """Return the served logit, ``(R, B)``."""
        served = self.served
        found = logits[served.group][..., served.head]
        # Not indexed with a list: that would be copied to the device, and the host would wait.
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
    """K models, each with its own tables."""

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
    """K models; serves their mean logit."""

    kind: Literal["ensemble"] = Field("ensemble", description=_SELECTS)
    loss: Literal["component", "mean"] = Field("component", description=_LOSS)

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        towers = logits["model"][..., 0]
        if self.loss == "mean":
            return mean_logit_loss(towers, labels)
        return label_loss(towers, labels).sum(1)


class AntiDistilled(_Components):
    """An ensemble with a penalty on the correlation of its components."""

    kind: Literal["anti_distilled"] = Field("anti_distilled", description=_SELECTS)
    couples_examples: ClassVar[bool] = True
    strength: Strength = Field(0.05, description="weight of the squared correlation (λ)")

    def objective(self, logits: Logits, labels: Tensor, *, phase: str, progress: float) -> Tensor:
        towers = logits["model"][..., 0]
        return label_loss(towers, labels).sum(1) + self.strength * correlation_loss(towers)


class SelfEnsemble(_Arm):
    """K towers that share one set of tables; serves their mean logit."""

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
    """A student that learns from the labels and from an ensemble; serves the student only.

    With T tables, training reads (K + 1) T rows for one example, or (2K + 1) T with an offline
    teacher, which is read in both passes.
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
    """K models that learn from each other; serves one of them."""

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


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of each component, mean over the batch: ``(R, K)``.

    ``labels`` is ``(R, B)``.
    """
    return distillation_loss(logits, labels.unsqueeze(1))


def distillation_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy towards soft targets ``(R, K or 1, B)`` in [0, 1]: ``(R, K)``.

    Targets carry no gradient.
    """
    targets = targets.detach().expand_as(logits)
    return binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


def mean_logit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Label loss of the mean logit: ``(R,)``."""
    return label_loss(logits.mean(1, keepdim=True), labels).sum(1)


def towards_mean_loss(logits: Tensor) -> Tensor:
    """Distillation of every component towards the mean logit of all, summed over K: ``(R,)``."""
    return distillation_loss(logits, torch.sigmoid(logits.mean(1, keepdim=True))).sum(1)


def towards_others_loss(logits: Tensor) -> Tensor:
    """Distillation of each component towards the mean prediction of the others: ``(R,)``.

    Anil et al. 2018 (arXiv 1804.03235), equation of section 2: the others are averaged as
    probabilities and carry no gradient.
    """
    predictions = torch.sigmoid(logits)
    others = (predictions.sum(1, keepdim=True) - predictions) / (logits.shape[1] - 1)
    return distillation_loss(logits, others).sum(1)


def correlation_loss(logits: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean over pairs of components of their squared correlation over the mini-batch: ``(R,)``.

    Shamir & Coviello 2020 (arXiv 2010.09923). ``eps`` keeps a constant component at 0.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    covariance = centred @ centred.transpose(1, 2)
    variance = covariance.diagonal(dim1=1, dim2=2)
    squared = covariance.square() / (variance.unsqueeze(1) * variance.unsqueeze(2) + eps)
    components = logits.shape[1]
    off_diagonal = squared.sum((1, 2)) - squared.diagonal(dim1=1, dim2=2).sum(1)
    return off_diagonal / (components * (components - 1))
