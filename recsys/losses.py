"""Training losses. Logits are ``(R, K, B)`` float: R replicas, K components, B examples.

Every loss returns ``(R,)``: replicas never share a term, so that the gradient of a replica does
not depend on its company. Component losses are added, not averaged, so that a component gets the
gradient that it would get alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


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
