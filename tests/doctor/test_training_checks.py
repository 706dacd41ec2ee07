"""A step of the configured optimizer, and what of the student never trains."""

from __future__ import annotations

import math

import pytest
import torch

from fourierkd.doctor.training_checks import check_frozen_student, check_step

SGD = {"optim_wrapper.optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}}
CYCLE = {"type": "OneCycleLR", "total_steps": 20, "by_epoch": False}


def multiplied(factor: float) -> dict:
    keys = {"student.features": {"lr_mult": factor}}
    return {"optim_wrapper.paramwise_cfg": {"custom_keys": keys}}


def clipped(bound: float) -> dict:
    return {"optim_wrapper.clip_grad": {"max_norm": bound}}


@pytest.mark.parametrize(
    ("more", "status", "words", "advice"),
    [
        ({}, "ok", "by 0.0", ""),
        (SGD | clipped(1e9), "ok", "clip_grad leaves 100 % of the step", ""),
        ({"optim_wrapper.optimizer.weight_decay": 0.5}, "ok", "by 0.0", ""),
        (
            {"optim_wrapper.optimizer.weight_decay": 100.0},
            "warn",
            "weight decay takes 100 % of the weights in one step",
            "lower optim_wrapper's weight_decay",
        ),
        (
            {"optim_wrapper.optimizer": {"type": "SGD", "lr": 0.01, "weight_decay": 20.0}},
            "warn",
            "weight decay takes 20 % of the weights in one step",
            "lower optim_wrapper's weight_decay",
        ),
        (  # Adam's is of the loss, and its steps do not grow with it
            {"optim_wrapper.optimizer": {"type": "Adam", "lr": 0.01, "weight_decay": 5e-4}},
            "ok",
            "by 0.0",
            "",
        ),
        ({"optim_wrapper.accumulative_counts": 4}, "ok", "by 0.0", ""),
        ({"optim_wrapper.type": "Bf16OptimWrapper"}, "ok", "by 0.0", ""),
        (
            {"optim_wrapper.optimizer.lr": 0.0},
            "fail",
            "learning rate 0: ",
            "lr and lr_mult",
        ),
        ({"optim_wrapper.optimizer.lr": 1e-9}, "fail", "rounding takes away", "raise the learning"),
        ({"optim_wrapper.optimizer.lr": 10.0}, "warn", "of their size", "lower the rate"),
        (multiplied(0.1), "ok", "by 0.0", ""),
        (
            multiplied(0.0),
            "fail",
            "tensors, student.features.weight, student.features.bias",
            "freeze a backbone",
        ),
        (SGD | clipped(1e-8), "fail", "clip_grad leaves", "raise the bound of optim_wrapper.clip"),
        (clipped(1e-11), "warn", "clip_grad leaves 0.", "raise the bound of optim_wrapper.clip"),
        ({"param_scheduler": {**CYCLE, "eta_max": 0.0}}, "fail", "learning rate 0: ", ""),
        (
            {"optim_wrapper.optimizer.lr": 0.0, "param_scheduler": {**CYCLE, "eta_max": 0.01}},
            "ok",  # the cycle does not use it, of which "schedule" warns
            "by 0.0",
            "",
        ),
        (
            multiplied(0.0) | {"param_scheduler": {**CYCLE, "eta_max": 0.01}},
            "warn",
            "lr_mult does nothing",
            "eta_max",
        ),
    ],
)
def test_a_step_reaches_the_weights(subject, more, status, words, advice):
    with subject(more) as built:
        check = check_step(built)
    assert (check.status, words in check.value, advice in check.advice) == (status, True, True), (
        check
    )
    assert bool(check.advice) == (status != "ok")


def test_a_student_alone_takes_a_step(subject):
    with subject({"model.teacher": None, "model.losses": {}}) as built:
        assert check_step(built).status == "ok"


def test_adamw_moves_each_weight_by_its_rate(subject):
    with subject() as built:
        count = sum(p.numel() for n, p in built.model.student.named_parameters() if "side" not in n)
        size = math.hypot(
            *(
                float(p.detach().norm())
                for n, p in built.model.student.named_parameters()
                if "side" not in n
            )
        )
        moved = check_step(built).facts["relative"]
    # the first step of Adam is lr in the direction of the gradient's sign
    assert moved == pytest.approx(1e-2 * count**0.5 / size, rel=0.05)


def test_a_step_leaves_no_trace(subject):
    with subject(SGD | clipped(1.0)) as built:
        before = {k: v.clone() for k, v in built.model.state_dict().items()}
        check_step(built)
        after = built.model.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
        assert all(p.grad is None for p in built.model.parameters())


def test_what_is_frozen_at_random_values(subject):
    with subject() as built:
        assert check_frozen_student(built).value == "nothing is frozen"
        built.model.student.head.requires_grad_(False)
        check = check_frozen_student(built)
        assert check.status == "fail"
        assert "frozen at random values: 2 of 2 tensors, head.weight, head.bias" in check.value
        assert "pretrained" in check.advice
        built.model.inherited = {"head": {}}  # the teacher's weights are no draw
        assert check_frozen_student(built).status == "ok"
        built.model.inherited = {}
        built.model.student.norm.requires_grad_(False)  # constants of the initialisation are none
        assert check_frozen_student(built).facts["random"] == ["head.weight", "head.bias"]


def test_a_batch_norm_held_at_statistics_of_nothing(subject):
    student = {"type": "ToyModel", "norm_eval": True}
    with subject({"model.student": student}) as built:
        check = check_frozen_student(built)
        assert check.status == "fail"
        assert check.value == "batch norms held at mean 0 and variance 1: 1 of 1, norm"
        assert "norm_eval=False" in check.advice
        built.model.student.norm.running_mean.fill_(0.5)
        assert check_frozen_student(built).status == "ok"


def test_pretrained_weights_are_no_draw(subject, tmp_path):
    path = tmp_path / "pretrained.pth"
    with subject({"model.student": {"type": "ToyModel"}}) as built:
        state = built.model.student.state_dict()
        torch.save({k: v + 0.5 if "norm" in k else v for k, v in state.items()}, path)
    weights = {"type": "Pretrained", "checkpoint": str(path)}
    student = {"type": "ToyModel", "norm_eval": True, "init_cfg": weights}
    with subject({"model.student": student}) as built:
        built.model.student.head.requires_grad_(False)
        check = check_frozen_student(built)
        assert check.value == "2 tensors and 1 batch norms frozen, none at random values"
