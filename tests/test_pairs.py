"""Every config of configs/det and configs/seg at its true size, on tiny data.

Each trains two iterations, with a generated teacher where it has one, validates and exports; plain
MMDetection or MMSegmentation loads the student. What takes long on two cores is slow; CI runs a
pair of segmentation and one of each head family of detection.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fourierkd.analysis.protocol import protocol
from fourierkd.analysis.published import of_pair
from fourierkd.cli import run_command
from fourierkd.config.load import load_config
from fourierkd.distill.config_files import read_file
from fourierkd.distill.fetch import cached_path
from fourierkd.distill.model_config import build_model, resolve_model
from fourierkd.engine.run import run
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir
from tests.published_data import SHORT, make_cityscapes, make_coco

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = sorted(
    str(p.relative_to(CONFIGS).with_suffix(""))
    for k in ("det", "seg")
    for p in CONFIGS.glob(f"{k}/*.py")
)
FOURIER = [name for name in NAMES if "/fourier_" in name]
OF_LD = "det/ld_gfl_r101_gfl_r50_1x_coco"
PAIRS = sorted([*FOURIER, OF_LD])
HOMOGENEOUS = [n for n in FOURIER if n.startswith("det") and "reppoints_r50_retina" not in n]
QUICK = (
    "det/fourier_fpn_faster-rcnn_r101_faster-rcnn_r50_2x_coco",
    "det/fourier_fpn_reppoints_r50_retina_r18_1x_coco",
    "det/fourier_fpn_reppoints_x101_reppoints_r50_2x_coco",
    "seg/fourier_pspnet_r101-d8_pspnet_r18-d8_4xb2-40k_cityscapes-512x512",
)
RUNS = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
DETECTION = {
    "train_cfg.max_epochs": 1,
    "train_dataloader.dataset.pipeline.2.scale": (128, 96),
    "val_dataloader.dataset.pipeline.1.scale": (128, 96),
}
CROP = (64, 64)
SEGMENTATION = {
    "train_cfg.max_iters": 2,
    "train_cfg.val_interval": 2,
    "train_dataloader.dataset.pipeline.2.scale": (128, 64),
    "train_dataloader.dataset.pipeline.3.crop_size": CROP,
    "val_dataloader.dataset.pipeline.1.scale": (128, 64),
}


pytestmark = pytest.mark.usefixtures("few_threads", "own_scope")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("data")
    make_coco(root / "det", {"train": [(96, 128)] * 4, "val": [(96, 128)] * 2})
    make_cityscapes(root / "seg", {"train": [(64, 128)] * 4, "val": [(64, 128)] * 2})
    return {"det": root / "det", "seg": root / "seg"}


def make_teacher(spec: Any, path: Path) -> None:
    """A checkpoint as the zoos publish them, of the weights the model is built with."""
    model = build_model(spec, role="teacher")
    meta = {"env_info": "PyTorch: 1.3.0", "config": "model = dict()", "epoch": 12, "iter": 1}
    torch.save({"meta": {**meta, "CLASSES": ("a", "b")}, "state_dict": model.state_dict()}, path)


def options(name: str, data: dict[str, Path]) -> dict[str, Any]:
    """Options that bring a config to the tiny data."""
    task = name.partition("/")[0]
    chosen = {**SHORT, "data_root": str(data[task])}
    if task == "det":
        return chosen | DETECTION
    return chosen | SEGMENTATION | {"model.student.overrides": {"data_preprocessor.size": CROP}}


@pytest.mark.parametrize("name", RUNS)
def test_a_config_trains_validates_and_exports(data, tmp_path, name):
    config, chosen = CONFIGS / f"{name}.py", options(name, data)
    teacher = load_config(config).model.get("teacher")
    if teacher:
        chosen["model.teacher.checkpoint"] = str(tmp_path / "teacher.pth")
        make_teacher(teacher["model"], tmp_path / "teacher.pth")
    request = single_request(config, chosen, wandb_mode="disabled")
    run_dir = RunDir(tmp_path / "run").create(request)
    result = run(run_dir, resume=False)

    assert (result.state, result.iters) == ("complete", 2)
    assert 0 <= result.metrics[f"val/{result.metric.name}"] <= 100
    rows = [row for row in run_dir.rows() if "train/loss" in row]
    assert len(rows) == 2
    for row in rows:
        assert all(math.isfinite(v) for k, v in row.items() if k.startswith("train/")), row
        assert row["train/grad_norm"] > 0
        for loss, pairs in (("fourier", FOURIER), ("iou", HOMOGENEOUS), ("ld", [OF_LD])):
            assert (row.get(f"train/distill.{loss}.loss", 0) > 0) == (name in pairs)
    assert bool(result.conditions.teacher_sha256) == bool(teacher)
    inherited = load_config(config).model.get("inherit", ())
    report = json.loads(run_dir.inherited.read_text()) if run_dir.inherited.exists() else {}
    assert set(report) == set(inherited)
    assert (result.parameters.get("inherited", 0) > 0) == bool(inherited)

    out = tmp_path / "student.pth"
    assert run_command(["export", str(run_dir.best_checkpoint()), "--out", str(out)]) == 0
    if name.startswith("det"):
        from mmdet.apis import init_detector as init
    else:
        from mmseg.apis import init_model as init
    plain = init(str(out.with_suffix(".py")), str(out), device="cpu")
    trained = torch.load(run_dir.best_checkpoint(), weights_only=True)["state_dict"]
    state = plain.state_dict()
    assert set(state) == {k.removeprefix("student.") for k in trained if k.startswith("student.")}
    assert all(torch.equal(value, trained[f"student.{key}"]) for key, value in state.items())
    for path in tmp_path.rglob("*.pth"):  # hundreds of megabytes
        path.unlink()


@pytest.mark.parametrize("name", PAIRS)
def test_only_the_distillation_differs_from_the_student_alone(name):
    pair = load_config(CONFIGS / f"{name}.py").to_dict()
    (alone,) = (n for n in NAMES if n not in PAIRS and name.endswith(n.partition("/")[2]))
    for key in ("teacher", "losses", "inherit"):
        pair["model"].pop(key, None)
    assert pair.pop("teacher_metric")  # a claim for the doctor
    own = load_config(CONFIGS / f"{alone}.py").to_dict()
    # What can be compared: a pair of two families of heads leaves the student's head out.
    assert pair.pop("taps").items() <= own.pop("taps").items()
    assert pair == own


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_names_a_published_teacher(name):
    model = load_config(CONFIGS / f"{name}.py").model
    zoo = "pspnet_r101" if name.startswith("seg") else "/v2.0/"
    assert zoo in model.teacher.checkpoint
    path = cached_path(model.teacher.checkpoint)
    assert path.parent.name == "checkpoints"  # its name ends in a hash, which is checked
    assert "%" not in path.name


@pytest.mark.parametrize("name", FOURIER)
def test_a_pair_of_the_paper_has_the_published_weights(name):
    model = load_config(CONFIGS / f"{name}.py").model
    fourier = model.losses.fourier
    assert fourier.loss.loss_weight == (41 if name.startswith("seg") else 7)
    assert fourier.student_tap == ("backbone.layer4" if name.startswith("seg") else "neck")
    assert set(model.losses) == {"fourier"} | ({"iou"} if name in HOMOGENEOUS else set())
    if name in HOMOGENEOUS:
        assert model.losses.iou.loss == {"type": "IoUAwareLoss", "loss_weight": 1.5}


def test_every_pair_of_the_method_has_a_config():
    assert len([n for n in FOURIER if n.startswith("det")]) == 7
    assert len([n for n in FOURIER if n.startswith("seg")]) == 2


def test_the_pair_of_localization_distillation_is_that_of_its_code():
    """MMDetection's own config of it, with other words."""
    theirs = read_file("mmdet::ld/ld_r50-gflv1-r101_fpn_1x_coco.py")
    model, ours = theirs["model"], load_config(CONFIGS / f"{OF_LD}.py")
    loss = model["bbox_head"].pop("loss_ld")
    assert ours.model.losses.ld.loss.loss_weight == loss["loss_weight"]
    assert ours.model.losses.ld.loss.temperature == loss["T"]
    teacher = ours.model.teacher
    assert teacher.model.partition("::")[2] == model.pop("teacher_config").removeprefix("configs/")
    assert Path(teacher.checkpoint).name == Path(model.pop("teacher_ckpt")).name
    plain = {"type": "GFL", "bbox_head": {**model["bbox_head"], "type": "GFLHead"}}
    student = resolve_model(ours.model.student)
    assert {k: v for k, v in student.items() if k != "_scope_"} == {**model, **plain}
    assert ours.optim_wrapper.optimizer.to_dict() == theirs["optim_wrapper"]["optimizer"]


TABLE = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")]
    for line in (CONFIGS.parent / "docs/pairs.md").read_text().splitlines()
    if line.startswith(("| `det/fourier_", "| `seg/fourier_", f"| `{OF_LD}"))
]


@pytest.mark.parametrize(
    ("file", "ours", "cell"),
    [(str(Path(row[0]).parent / row[1]), "student_alone", row[3]) for row in TABLE]
    + [(row[0], "ld" if OF_LD in row[0] else "published", row[4]) for row in TABLE],
)
def test_the_numbers_of_the_docs_are_those_of_the_ledger(file, ours, cell):
    """Under the protocol of the config: with as many processes as it is written for."""
    config = load_config(CONFIGS / file).to_dict()
    ranks = config["auto_scale_lr"]["base_batch_size"] // config["train_dataloader"]["batch_size"]
    own = protocol(config, split="val", metric=config["metric"], ranks=ranks)
    assert own.student
    assert bool(own.teacher) == (ours != "student_alone")
    rows = [r for r in of_pair(own) if r.ours == ours and not r.differences(own)]
    scale, digits = (1, 2) if own.metric == "mIoU" else (100, 1)
    assert [f"{scale * row.value:.{digits}f}" for row in rows] == ([cell] if cell else [])


def test_the_docs_have_every_pair():
    assert sorted(row[0].removesuffix(".py") for row in TABLE) == PAIRS
