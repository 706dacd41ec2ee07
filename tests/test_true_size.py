"""Every method trains on a published pair of each task at the size that the pair is trained at.

Two crops of 512x512 a step, and pictures resized to 1333x800; generated pictures, random weights.
Minutes on two cores: ``pytest -m slow tests/test_true_size.py --durations=0`` says how long each
method takes.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn

from fourierkd.engine.run import run
from fourierkd.methods import read_method
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir
from tests.published_data import SHORT, make_cityscapes, make_coco
from tests.shapes_pairs import PAIRS_AND_METHODS

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PAIRS = {  # as tests/shapes_pairs.py calls them
    "pspnet": "seg/fourier_pspnet_r101-d8_pspnet_r18-d8_4xb2-40k_cityscapes-512x512",
    "retinanet": "det/fourier_fpn_retina_r101_retina_r50_2x_coco",
    "gfl": "det/ld_gfl_r101_gfl_r50_1x_coco",
}
ROLES = {"seg": ("feature", "logits"), "det": ("pyramid", "head")}
CASES = [
    (pair, method)
    for pair, method in PAIRS_AND_METHODS
    if pair != "gfl" or set(read_method(method).losses) == {"head"}  # maps are as RetinaNet's
]
# Of COCO's sizes: they become 800x1333 and 800x1067, so a batch of both is padded to 800x1344, and
# their levels are as odd as 25x42 and 13x17.
PICTURES = [(384, 640), (480, 640)] * 2
BATCHES_OF_TWO = ("fgd", "ld")  # of detection, as padding is a matter of boxes and points
STEPS = 2
NO_VALIDATION = {"val_dataloader": None, "val_evaluator": None}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_threads", "own_scope")]


@HOOKS.register_module(force=True)
class Witness(Hook):
    """Notes what a training does to its models; ``last`` is that of the last run.

    Attributes:
        gradients: parameter that is trained -> its largest gradient of any step.
        changed: what is not as it was before, of the student's side and of the teacher's.
    """

    last: Witness

    def __init__(self) -> None:
        Witness.last = self
        self.gradients: dict[str, float] = {}
        self.changed: dict[str, set[str]] = {}

    def before_train(self, runner):
        self.before = {role: copies(model) for role, model in sides(runner)}
        for name, parameter in runner.bare_model.named_parameters():
            if parameter.requires_grad:
                self.gradients[name] = 0.0
                parameter.register_post_accumulate_grad_hook(functools.partial(self.note, name))

    def note(self, name: str, parameter: Tensor) -> None:
        self.gradients[name] = max(self.gradients[name], float(parameter.grad.abs().max()))

    def after_train(self, runner):
        for role, model in sides(runner):
            before = self.before[role]
            self.changed[role] = {
                name
                for name, value in model.state_dict().items()
                if not torch.equal(value, before[name])
            }
        del self.before


def sides(runner: Any) -> list[tuple[str, nn.Module]]:
    return [("student", runner.bare_model.student), ("teacher", runner.bare_model.teacher.model)]


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    make_cityscapes(root / "seg", {"train": [(1024, 2048)] * 2})
    make_coco(root / "det", {"train": PICTURES})
    return {"det": root / "det", "seg": root / "seg"}


def length(task: str, method: str) -> dict[str, Any]:
    """Options that end a run after ``STEPS``."""
    if task == "seg":
        return {"train_cfg.max_iters": STEPS}
    batch = 2 if method in BATCHES_OF_TWO else 1
    data = {"batch_size": batch, "dataset.indices": STEPS * batch}
    return {"train_cfg.max_epochs": 1, **{f"train_dataloader.{k}": v for k, v in data.items()}}


@pytest.mark.parametrize(("pair", "method"), CASES)
def test_a_method_trains_a_published_pair(data, tmp_path, pair, method):
    task = PAIRS[pair].partition("/")[0]
    chosen = {**SHORT, **length(task, method), **NO_VALIDATION, "method": method}
    chosen |= {"data_root": str(data[task]), "model.teacher.checkpoint": "random"}
    chosen["custom_hooks"] = [{"type": "Witness"}]
    request = single_request(CONFIGS / f"{PAIRS[pair]}.py", chosen, wandb_mode="disabled")
    run_dir = RunDir(tmp_path / "run").create(request)
    result = run(run_dir, resume=False)
    for path in tmp_path.rglob("*.pth"):  # hundreds of megabytes
        path.unlink()

    assert (result.state, result.iters) == ("complete", STEPS)
    rows = [row for row in run_dir.rows() if "train/loss" in row]
    assert len(rows) == STEPS
    names = read_method(method).at(ROLES[task])
    for row in rows:
        terms = {k: v for k, v in row.items() if k.startswith("train/") and "loss" in k}
        assert all(0 < value < math.inf for value in terms.values()), terms
        distilled = {key for key in terms if key.startswith("train/distill.")}
        assert distilled == {f"train/distill.{name}.loss" for name in names}

    seen = Witness.last  # the student's parameters, and those of losses and connectors
    assert [name for name, largest in seen.gradients.items() if not 0 < largest < math.inf] == []
    assert seen.changed["student"]
    assert seen.changed["teacher"] == set()
