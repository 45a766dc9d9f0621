"""The six arms: what each trains, reads and serves."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from recsys import arms
from recsys.arms import ArmConfig, Codistilled, Distilled, Ensemble, SelfEnsemble

R, B = 2, 16


def _arm(**fields):
    return TypeAdapter(ArmConfig).validate_python(fields)


def _logits(arm, seed=0):
    random = torch.Generator().manual_seed(seed)
    return {
        group.name: torch.randn(R, group.towers, B, group.heads, generator=random)
        for group in arm.layout(12)
    }


LABELS = torch.randint(0, 2, (R, B), generator=torch.Generator().manual_seed(9)).float()


@pytest.mark.parametrize(
    ("fields", "trained_sets", "served_towers"),
    [
        ({"kind": "single"}, {"model": 1}, 1),
        ({"kind": "ensemble", "components": 4}, {"model": 4}, 4),
        ({"kind": "self_ensemble", "components": 4}, {"model": 1}, 4),
        ({"kind": "anti_distilled", "components": 3}, {"model": 3}, 3),
        ({"kind": "distilled", "components": 3}, {"teacher": 3, "student": 1}, 1),
        ({"kind": "codistilled", "components": 2}, {"model": 2}, 1),
    ],
)
def test_an_arm_has_the_tables_and_serves_the_towers_of_its_definition(
    fields, trained_sets, served_towers
) -> None:
    arm = _arm(**fields)

    assert {group.name: group.table_sets for group in arm.layout(12)} == trained_sets
    assert len(arm.served.towers) == served_towers


def test_an_equal_cost_ensemble_reads_as_many_bytes_as_the_single_model() -> None:
    (group,) = Ensemble(components=3, width="equal_lookups_bytes").layout(24)

    assert group.table_sets * group.embedding_dim == 24


def test_tables_that_cannot_be_cut_evenly_are_refused_with_what_would_work() -> None:
    with pytest.raises(ValueError, match="embedding_dim 16 into 3: expected a multiple of 12"):
        Ensemble(components=3, width="equal_lookups_bytes").layout(16)


def test_an_ensemble_serves_the_mean_logit() -> None:
    arm = Ensemble(components=3)
    logits = _logits(arm)

    torch.testing.assert_close(arm.served_logits(logits), logits["model"][..., 0].mean(1))


def test_a_codistilled_arm_serves_its_first_model() -> None:
    arm = Codistilled()
    logits = _logits(arm)

    assert torch.equal(arm.served_logits(logits), logits["model"][:, 0, :, 0])


def test_codistillation_starts_after_the_burn_in() -> None:
    arm = Codistilled(burn_in=0.25, strength=0.5)
    logits = _logits(arm)
    towers = logits["model"][..., 0]
    alone = arms.label_loss(towers, LABELS).sum(1)

    before = arm.objective(logits, LABELS, phase="joint", progress=0.24)
    after = arm.objective(logits, LABELS, phase="joint", progress=0.25)

    torch.testing.assert_close(before, alone)
    torch.testing.assert_close(after, alone + 0.5 * arms.towards_others_loss(towers))


def test_the_mean_loss_is_that_of_the_mean_logit_whatever_the_components_say() -> None:
    arm = SelfEnsemble(components=2, loss="mean")
    logits = {"model": torch.stack([torch.full((1, B, 1), 5.0), torch.full((1, B, 1), -5.0)], 1)}

    loss = arm.objective(logits, LABELS[:1], phase="joint", progress=0)

    torch.testing.assert_close(loss, torch.tensor([2.0]).log())


def test_a_distilled_student_never_pushes_its_teacher() -> None:
    arm = Distilled(components=2, strength=0.7)
    logits = {name: value.requires_grad_() for name, value in _logits(arm).items()}
    teacher = logits["teacher"]

    arm.objective(logits, LABELS, phase="joint", progress=0).sum().backward()
    together = teacher.grad.clone()
    teacher.grad = None
    arms.label_loss(teacher[..., 0], LABELS).sum().backward()

    torch.testing.assert_close(together, teacher.grad)


def test_one_head_of_two_learns_the_label_and_serves_the_other_learns_the_teacher() -> None:
    arm = Distilled(components=2, strength=0.25, heads=2)
    logits = {name: value.requires_grad_() for name, value in _logits(arm).items()}
    student, teacher = logits["student"], logits["teacher"]

    arm.objective(logits, LABELS, phase="student", progress=0).sum().backward()

    p = torch.sigmoid(student.detach())[:, 0]
    target = torch.sigmoid(teacher.detach()[..., 0].mean(1))
    torch.testing.assert_close(student.grad[:, 0, :, 0], 0.75 * (p[..., 0] - LABELS) / B)
    torch.testing.assert_close(student.grad[:, 0, :, 1], 0.25 * (p[..., 1] - target) / B)
    assert torch.equal(arm.served_logits(logits), student[:, 0, :, 0])
    assert teacher.grad is None


def test_an_offline_teacher_is_trained_alone_before_its_student() -> None:
    phases = Distilled(teacher="offline").phases

    assert [(phase.name, phase.groups) for phase in phases] == [
        ("teacher", ("teacher",)),
        ("student", ("teacher", "student")),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "single", "components": 2},
        {"kind": "single", "heads": 2},
        {"kind": "ensemble", "components": 1},
        {"kind": "distilled", "strength": 1.5},
        {"kind": "single", "activation": "relo"},
        {"kind": "single", "activation": "smelu(beta=-1)"},
    ],
)
def test_an_option_that_the_arm_does_not_have_is_refused(fields) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(ArmConfig).validate_python(fields)
