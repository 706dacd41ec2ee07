"""Toy subjects: a branched student and a teacher that learned the toy's task."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS

from fourierkd.doctor.examine import Effort, examine
from fourierkd.doctor.subject import build_subject

HERE = Path(__file__).parent
TOY = HERE.parent / "engine"
CONFIG = TOY / "toy_config.py"
QUICK = Effort(images=12, steps=20)
for folder in (HERE, TOY):  # configs name the toys, as they would a user's own modules
    sys.path.insert(0, str(folder))


@pytest.fixture(autouse=True)
def _own_state(few_threads, own_scope):
    """In every test of this folder."""


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> str:
    """Checkpoint of a teacher of width 6 that learned the toy's labels (accuracy above 80 %)."""
    import planted  # noqa: F401 - registers the branched model
    import toy

    torch.manual_seed(0)
    model = MODELS.build({"type": "BranchedModel", "width": 6}).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    data = toy.ToyDataset(augment=False)
    images = torch.stack([data[i]["inputs"] for i in range(12)])
    labels = [data[i]["data_samples"] for i in range(12)]
    for _ in range(150):
        optimizer.zero_grad()
        sum(model(images, labels, mode="loss").values()).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    return str(path)


@pytest.fixture
def options(teacher):
    """Options that make a distillation of the toy config; keyword arguments change its one loss."""

    def make(checkpoint: str = teacher, student: dict | None = None, **entry) -> dict:
        loss = {
            "student_tap": "features",
            "teacher_tap": "features",
            "loss": {"type": "FourierLoss", "loss_weight": 1.0},
        }
        return {
            "model.student": {"type": "BranchedModel", **(student or {})},
            "model.teacher": {
                "model": {"type": "BranchedModel", "width": 6},
                "checkpoint": checkpoint,
            },
            "model.losses": {"fourier": {**loss, **entry}},
        }

    return make


@pytest.fixture
def subject(options):
    """Build a toy subject, to be mutated and examined."""

    @contextmanager
    def make(more: dict | None = None, **entry):
        with build_subject(CONFIG, options(**entry) | (more or {})) as built:
            yield built

    return make


@pytest.fixture
def examined(subject):
    """Checks by name of a toy subject after ``plant(subject)``."""

    def make(plant=lambda built: None, more: dict | None = None, **entry):
        with subject(more, **entry) as built:
            plant(built)
            return {check.name: check for check in examine(built, effort=QUICK)}

    return make
