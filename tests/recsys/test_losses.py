"""Losses against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys import arms

R, K, B = 2, 3, 5


def _logits(seed: int) -> torch.Tensor:
    return torch.randn(R, K, B, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _labels(seed: int) -> torch.Tensor:
    return torch.randint(
        0, 2, (R, B), generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64
    )


def _cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + np.exp(-logit))
    return -(target * np.log(p) + (1 - target) * np.log1p(-p))


@given(st.integers(0, 1000))
def test_label_loss_is_the_mean_cross_entropy_of_each_component(seed: int) -> None:
    logits, labels = _logits(seed), _labels(seed)

    found = arms.label_loss(logits, labels)

    expected = [
        [
            np.mean([_cross_entropy(float(logits[r, k, b]), float(labels[r, b])) for b in range(B)])
            for k in range(K)
        ]
        for r in range(R)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@given(st.integers(0, 1000))
def test_correlation_loss_is_the_mean_squared_correlation_over_pairs(seed: int) -> None:
    logits = _logits(seed)

    found = arms.correlation_loss(logits)

    expected = [
        np.mean(
            [np.corrcoef(logits[r, i], logits[r, j])[0, 1] ** 2 for i in range(K) for j in range(i)]
        )
        for r in range(R)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_correlation_loss_of_a_constant_component_is_zero_with_a_finite_gradient() -> None:
    logits = _logits(0)[:, :2].clone()
    logits[:, 0] = 1.0
    logits.requires_grad_()

    loss = arms.correlation_loss(logits)
    loss.sum().backward()

    assert loss.tolist() == [0.0, 0.0]
    assert torch.isfinite(logits.grad).all()


def test_towards_others_distils_each_component_from_the_mean_probability_of_the_rest() -> None:
    logits = _logits(3)

    found = arms.towards_others_loss(logits)

    p = torch.sigmoid(logits).numpy()
    expected = [
        sum(
            np.mean(
                [
                    _cross_entropy(float(logits[r, k, b]), np.delete(p[r, :, b], k).mean())
                    for b in range(B)
                ]
            )
            for k in range(K)
        )
        for r in range(R)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("loss", [arms.towards_mean_loss, arms.towards_others_loss])
def test_a_distillation_target_carries_no_gradient(loss) -> None:
    logits = _logits(4).requires_grad_()

    loss(logits).sum().backward()

    # Towards a fixed target the gradient of one example is (prediction - target) / B.
    p = torch.sigmoid(logits.detach())
    if loss is arms.towards_mean_loss:
        target = torch.sigmoid(logits.detach().mean(1, keepdim=True)).expand_as(p)
    else:
        target = (p.sum(1, keepdim=True) - p) / (K - 1)
    torch.testing.assert_close(logits.grad, (p - target) / B)


@given(st.integers(0, 1000))
def test_a_replica_s_loss_and_gradient_do_not_depend_on_its_company(seed: int) -> None:
    together = _logits(seed).requires_grad_()
    alone = together.detach()[1:].clone().requires_grad_()
    labels = _labels(seed)

    arms.label_loss(together, labels).sum().backward()
    arms.label_loss(alone, labels[1:]).sum().backward()

    torch.testing.assert_close(together.grad[1:], alone.grad, rtol=1e-12, atol=0)
