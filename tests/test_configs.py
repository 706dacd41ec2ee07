"""Every config of the repository, on tiny data: it trains, validates and scores; studies resolve.

The real folders are tried where FOURIERKD_CAMVID or FOURIERKD_BCCD name them.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import optuna
import pytest
import torch

from fourierkd.cli import run_command
from fourierkd.config.load import load_config
from fourierkd.distill.register import register_all
from fourierkd.distill.registry import MODELS
from fourierkd.engine.run import run
from fourierkd.methods import read_method
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir
from sweeps.points import branches, match, resolve
from sweeps.study_file import load_study
from tests.pictures import write_image
from tests.shapes_pairs import PAIRS_AND_METHODS, ROLES

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NO_RUNS = ("_base_", "methods", "studies", "det", "seg")  # test_pairs.py has the last two
RUNS = sorted(
    str(path.relative_to(CONFIGS).with_suffix(""))
    for path in CONFIGS.glob("*/*.py")
    if path.parent.name not in NO_RUNS
)
STUDIES = sorted(path.stem for path in CONFIGS.glob("studies/*.py"))
SHORT = {
    "train_cfg.max_iters": 2,
    "train_cfg.val_interval": 2,
    "param_scheduler.total_steps": 2,
    "train_dataloader.batch_size": 2,
    "default_hooks.scalars.interval": 1,
}
TRAIN, TUNE, VAL = 3, 2, 2  # images: trained on, the last ones of train/, and in val/
SUBSETS = {"train_dataloader.dataset.indices": TRAIN, "val_dataloader.dataset.indices": -TUNE}


pytestmark = pytest.mark.usefixtures("few_threads", "own_scope")


def make_camvid(root: Path) -> None:
    """The folders of CamVid."""
    for split, count in (("train", TRAIN + TUNE), ("val", VAL)):
        (root / "ann" / split).mkdir(parents=True)
        for i in range(count):
            write_image(root / "img" / split / f"{i}.jpg", 360, 480, i)
            mask = np.full((360, 480), 255, np.uint8)
            mask[10:] = np.arange(480) // 44
            assert cv2.imwrite(str(root / "ann" / split / f"{i}.png"), mask)


def make_bccd(root: Path) -> None:
    """The folders of BCCD."""
    for split, count in (("train", TRAIN + TUNE), ("val", VAL)):
        images, boxes = [], []
        for i in range(count):
            write_image(root / split / f"{i}.jpg", 480, 640, i)
            images.append({"id": i, "file_name": f"{i}.jpg", "height": 480, "width": 640})
            for category, size in ((1, 100), (2, 200), (3, 40)):
                box = [150.0 * category + 10 * i, 20.0 * category, size, size]
                boxes.append(
                    {
                        "id": len(boxes),
                        "image_id": i,
                        "category_id": category,
                        "bbox": box,
                        "area": size * size,
                        "iscrowd": 0,
                    }
                )
        names = ("RBC", "WBC", "Platelets")
        categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        content = {"images": images, "annotations": boxes, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))


def beside(name: str, role: str) -> str:
    """The config of the student alone or of the teacher that belongs to a distilled one."""
    kind, _, stem = name.partition("/")
    return f"{kind}/{stem.partition('_')[0]}_{role}"


class Tiny:
    """Tiny data and what was trained on it; each config is trained once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[str, RunDir] = {}

    def options(self, kind: str) -> dict[str, Any]:
        """Options that bring a config of configs/<kind> to the tiny data."""
        root = self.folder / "data" / kind
        options = {**SHORT, "data_root": str(root)}
        if kind.startswith("shapes"):
            sizes = {"size": 8, "val_size": 2, "test_size": 2}
            return options | {f"prepare_data.{key}": value for key, value in sizes.items()}
        if not root.exists():
            {"camvid": make_camvid, "bccd": make_bccd}[kind](root)
        return options | SUBSETS

    def train(self, name: str) -> RunDir:
        """Train a config, its teacher before it."""
        if name not in self.done:
            config = CONFIGS / f"{name}.py"
            options = self.options(name.partition("/")[0])
            if load_config(config).model.get("teacher"):
                teacher = self.train(beside(name, "teacher"))
                options["model.teacher.checkpoint"] = str(teacher.best_checkpoint())
            run_dir = train(config, options, self.folder / "runs" / name, test_split="test")
            self.done[name] = run_dir
        return self.done[name]


def train(config: Path, options: dict[str, Any], folder: Path, **more: Any) -> RunDir:
    """A run without W&B."""
    request = single_request(config, options, wandb_mode="disabled", **more)
    run_dir = RunDir(folder).create(request)
    run(run_dir, resume=False)
    return run_dir


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("configs"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_config_trains_validates_and_scores(tiny, name):
    run_dir = tiny.train(name)
    result, rows = run_dir.read_result(), run_dir.rows()
    assert result.state == "complete"
    assert result.iters == 2
    metric = result.metric.name
    top = 100 if metric == "mIoU" else 1
    for split in ("val", "test"):
        assert 0 <= result.metrics[f"{split}/{metric}"] <= top
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    distilled = [row.get("train/distill.fourier.loss") for row in rows if "train/loss" in row]
    if name.endswith("_fourier"):
        assert all(loss > 0 for loss in distilled)
        assert result.conditions.teacher_sha256
    else:
        assert distilled == [None, None]
        assert result.parameters["teacher"] == 0


@pytest.mark.parametrize(("pair", "method"), PAIRS_AND_METHODS)
def test_every_method_trains_on_every_pair_that_has_its_roles(tiny, tmp_path, pair, method):
    options = {**tiny.options("shapes"), "model.teacher.checkpoint": "random", "method": method}
    run_dir = train(CONFIGS / f"shapes/{pair}_fourier.py", options, tmp_path / "run")
    result = run_dir.read_result()
    assert result.state == "complete"
    assert result.iters == 2
    losses = read_method(method).at(ROLES[pair])
    for row in run_dir.rows():
        if "train/loss" in row:
            assert all(0 < row[f"train/distill.{name}.loss"] < math.inf for name in losses)


def test_an_own_head_on_the_fourth_stage_trains(tiny, tmp_path, monkeypatch):
    """configs/shapes is what people start from: a head of theirs finds four stages, as usual."""
    (tmp_path / "own_head.py").write_text(
        """
from mmseg.models.decode_heads import FCNHead
from mmseg.registry import MODELS


@MODELS.register_module()
class OwnHead(FCNHead):
    pass
"""
    )
    config = tmp_path / "own.py"
    config.write_text(
        f"""
_base_ = {str(CONFIGS / "shapes/pspnet_student.py")!r}
custom_imports = dict(imports=["own_head"], allow_failed_imports=False)
_head = dict(type="OwnHead", in_channels=64, in_index=3, channels=16, num_classes=9)
model = dict(student=dict(decode_head=dict(_delete_=True, **_head)))
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    run_dir = train(config, tiny.options("shapes"), tmp_path / "run")
    assert run_dir.read_result().state == "complete"
    state = torch.load(run_dir.best_checkpoint(), weights_only=True)["state_dict"]
    assert state["student.decode_head.convs.0.conv.weight"].shape[1] == 64


@pytest.mark.parametrize("name", [name for name in RUNS if name.endswith("_fourier")])
def test_only_the_distillation_differs_from_the_student_alone(name):
    fourier = load_config(CONFIGS / f"{name}.py").to_dict()
    alone = load_config(CONFIGS / f"{beside(name, 'student')}.py").to_dict()
    for config in (fourier, alone):
        for key in ("teacher", "losses"):
            config["model"].pop(key, None)
    assert fourier == alone


@pytest.mark.parametrize("name", ["shapes/pspnet_fourier", "shapes/retinanet_fourier"])
def test_methods_begin_with_equal_weights_batches_and_augmentation(tiny, tmp_path, name):
    """Bit by bit: whatever is distilled, the student's own losses of the first step are equal."""
    first = []
    for method in ("student_alone", "pkd", "published"):
        options = {**tiny.options("shapes"), "model.teacher.checkpoint": "random", "method": method}
        run_dir = train(CONFIGS / f"{name}.py", options, tmp_path / method, seed=5)
        row = next(row for row in run_dir.rows() if "train/loss" in row)
        known = ("train/loss", "train/grad_norm", "train/lr")
        own = {k: v for k, v in row.items() if k.startswith("train/") and k not in known}
        first.append({k: v for k, v in own.items() if "distill" not in k})
        assert (len(own) > len(first[-1])) == (method != "student_alone")
    assert first[0] == first[1] == first[2]
    assert any("loss" in key for key in first[0])


@pytest.mark.parametrize(
    ("name", "package", "function"),
    [
        ("camvid/pspnet_fourier", "mmseg.apis", "init_model"),
        ("bccd/retinanet_fourier", "mmdet.apis", "init_detector"),
    ],
)
def test_the_student_is_exported_by_the_command_line(tiny, tmp_path, name, package, function):
    run_dir = tiny.train(name)
    out = tmp_path / "student.pth"
    assert run_command(["export", str(run_dir.best_checkpoint()), "--out", str(out)]) == 0
    init = getattr(__import__(package, fromlist=[function]), function)
    plain = init(str(out.with_suffix(".py")), str(out), device="cpu")
    trained = torch.load(run_dir.best_checkpoint(), weights_only=True)["state_dict"]
    state = plain.state_dict()
    assert set(state) == {k.removeprefix("student.") for k in trained if k.startswith("student.")}
    for key, value in state.items():
        assert torch.equal(value, trained[f"student.{key}"])


@pytest.mark.parametrize("name", ["camvid/pspnet_student", "bccd/retinanet_student"])
def test_no_run_trains_on_what_it_is_scored_on(tiny, name):
    kind = name.partition("/")[0]
    config = load_config(CONFIGS / f"{name}.py", tiny.options(kind))
    names = {}
    for part in ("train", "val", "test"):
        data = loader(config[f"{part}_dataloader"]).dataset
        names[part] = {data.get_data_info(i)["img_path"] for i in range(len(data))}
    assert [len(names[part]) for part in ("train", "val", "test")] == [TRAIN, TUNE, VAL]
    assert len(set.union(*names.values())) == TRAIN + TUNE + VAL
    assert {Path(path).stem for path in names["val"]} == {"3", "4"}
    assert all("/val/" in path for path in names["test"])


def loader(config: Any) -> Any:
    from fourierkd.engine.loaders import build_loader

    register_all()
    return build_loader(config, seed=0)


def test_a_detector_is_scored_on_the_images_it_saw(tiny):
    """Perfect boxes on the tuning part of train.json score 1: the other images are not missed."""
    from mmengine.evaluator import Evaluator
    from mmengine.structures import InstanceData

    config = load_config(CONFIGS / "bccd/retinanet_student.py", tiny.options("bccd"))
    content = json.loads((Path(config.data_root) / "train.json").read_text())
    batches = loader(config.val_dataloader)
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = batches.dataset.metainfo
    for batch in batches:
        for sample in batch["data_samples"]:
            found = [a for a in content["annotations"] if a["image_id"] == sample.img_id]
            boxes = torch.tensor([a["bbox"] for a in found])
            boxes[:, 2:] += boxes[:, :2]
            sample.pred_instances = InstanceData(
                bboxes=boxes,
                labels=torch.tensor([a["category_id"] - 1 for a in found]),
                scores=torch.ones(len(found)),
            )
        evaluator.process(data_samples=batch["data_samples"], data_batch=batch)
    metrics = evaluator.evaluate(len(batches.dataset))
    assert metrics["coco/bbox_mAP"] == 1.0


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_resolves_to_runs_that_can_be_built(name):
    study = load_study(CONFIGS / "studies" / f"{name}.py")
    load_config(study.teacher["config"], study.teacher_options())
    common = {"metric": study.metric, **study.options, study.teacher["option"]: "random"}
    points = [*study.arms.values(), *study.reference_arms.values()]
    search = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    built = set()
    given = [match(study.space, arm)[0] or {} for arm in study.arms.values()]
    for branch in branches(study.space, given):
        search.enqueue_trial(branch)
        options, _ = resolve(study.space, search.ask())
        load_config(study.config, {**common, **options})
        if branch["method"] not in built:  # to build a pair takes a while
            built.add(branch["method"])
            points.append(options)
    assert built >= {"spectral_l2", "fourier"}
    register_all()
    for options in points:
        model = MODELS.build(load_config(study.config, {**common, **options}).model)
        if options["method"] == "student_alone":
            assert len(model.losses) == 0
            assert model.teacher is None
        else:
            assert len(model.losses) > 0


@pytest.mark.parametrize(
    ("variable", "name"),
    [("FOURIERKD_CAMVID", "camvid/pspnet_fourier"), ("FOURIERKD_BCCD", "bccd/retinanet_fourier")],
)
def test_a_pair_trains_on_the_real_folder(tmp_path, variable, name):
    root = os.environ.get(variable)
    if not root:
        pytest.skip(f"the data are not in the repository: set {variable} to their folder")
    options = {**SHORT, "data_root": root, "model.teacher.checkpoint": "random"}
    run_dir = train(CONFIGS / f"{name}.py", options, tmp_path / "run")
    result = run_dir.read_result()
    assert result.state == "complete"
    assert f"val/{result.metric.name}" in result.metrics
