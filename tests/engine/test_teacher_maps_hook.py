"""A run with kept teacher maps is the run without them, and a run that keeps none says why."""

from __future__ import annotations

import json

import pytest
import torch

from fourierkd.distill.model_config import build_model
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.engine.hooks.teacher_maps import image_variants
from fourierkd.engine.run import run
from fourierkd.run_dir import cache_root
from tests.engine.conftest import assert_same
from tests.engine.test_run import last_state

LIVE = {"default_hooks.teacher_maps": None}


@pytest.fixture
def shapes_run(make_run, tmp_path, monkeypatch):
    """Make the folder of a short distilled run on a few Spectral Shapes with flips."""
    from pathlib import Path

    from fourierkd.config.load import load_config
    from fourierkd.distill.register import register_all

    monkeypatch.setenv("FOURIERKD_CACHE", str(tmp_path / "cache"))
    config = str(Path(__file__).parents[2] / "configs/shapes/pspnet_fourier.py")
    register_all()
    torch.manual_seed(3)
    teacher = load_config(config, {}).model.teacher.model
    torch.save(build_model(teacher, role="teacher").state_dict(), tmp_path / "teacher.pth")

    def make(name, **options):
        return make_run(
            name,
            config=config,
            options={
                "model.teacher.checkpoint": str(tmp_path / "teacher.pth"),
                "model.teacher.nuisance": {"mask": {"type": "HighPass", "cutoff": 0.5}},
                "data_root": str(tmp_path / "shapes"),
                "prepare_data.size": 6,
                "prepare_data.val_size": 2,
                "prepare_data.test_size": 1,
                "train_dataloader.dataset.indices": 6,
                "train_cfg.max_iters": 6,
                "train_cfg.val_interval": 3,
                "param_scheduler.total_steps": 6,
                "default_hooks.scalars.interval": 1,
                **options,
            },
        )

    return make


def rows(run_dir):
    """What the rows say but for the time."""
    found = [json.loads(line) for line in run_dir.scalars.read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if not k.startswith(("seconds", "time"))} for row in found
    ]


@pytest.fixture
def one_by_one(monkeypatch):
    """A teacher that sees one image at a time: the same bits in any batch, which depends else on
    the libraries, on the processor and on the number of threads."""
    forward = FrozenTeacher._forward

    def each(self, inputs, data_samples):
        alone = [
            forward(self, inputs[i : i + 1], data_samples and data_samples[i : i + 1])
            for i in range(len(inputs))
        ]
        return {
            tap: [torch.cat(level) for level in zip(*(maps[tap] for maps in alone), strict=True)]
            for tap in alone[0]
        }

    monkeypatch.setattr(FrozenTeacher, "_forward", each)


@pytest.fixture
def in_batches():
    """The teacher as it is."""


@pytest.mark.parametrize("teacher", ["one_by_one", "in_batches"])
def test_losses_and_weights_are_equal_bit_by_bit(shapes_run, request, teacher):
    request.getfixturevalue(teacher)
    live = shapes_run("live", **LIVE)
    result = run(live, resume=False)
    assert result.teacher_maps == {"kept": 0, "why_live": "nobody asked for kept maps"}
    for name in ("computes", "reads"):  # the second run finds the maps of the first
        kept = shapes_run(name)
        maps = run(kept, resume=False).teacher_maps
        assert rows(kept) == rows(live)
        assert_same(last_state(kept)["state_dict"], last_state(live)["state_dict"])
        if teacher == "in_batches" and maps["why_live"]:
            assert "depend on the batch" in maps["why_live"]
            continue
        assert maps["why_live"] is None
        assert 6 < maps["kept"] <= 24
        (file,) = (cache_root() / "maps").iterdir()
        assert file.suffix == ".maps"


def test_a_second_run_sees_the_teacher_once(shapes_run, one_by_one, monkeypatch):
    run(shapes_run("first"), resume=False)
    seen = []
    forward = FrozenTeacher._forward

    def count(self, inputs, data_samples):
        seen.append(len(inputs))
        return forward(self, inputs, data_samples)

    monkeypatch.setattr(FrozenTeacher, "_forward", count)
    run(shapes_run("second"), resume=False)
    assert seen == [4, 2]  # the check of the first batch


@pytest.mark.parametrize("control", ["other_image", "random_phases"])
def test_a_negative_control_is_the_same_with_kept_maps(shapes_run, one_by_one, control):
    controlled = {"model.teacher.control": control}
    live = shapes_run("live", **controlled, **LIVE)
    run(live, resume=False)
    plain = shapes_run("plain")  # whose file of kept maps the controlled run reads
    run(plain, resume=False)
    kept = shapes_run("kept", **controlled)
    assert run(kept, resume=False).teacher_maps["why_live"] is None
    assert rows(kept) == rows(live)
    assert_same(last_state(kept)["state_dict"], last_state(live)["state_dict"])
    assert rows(plain) != rows(live)
    assert len(list((cache_root() / "maps").iterdir())) == 1


def test_random_augmentation_runs_live_and_says_so(shapes_run):
    step = {"type": "PhotoMetricDistortion"}
    run_dir = shapes_run("distorted", **{"train_dataloader.dataset.pipeline.2": step})
    result = run(run_dir, resume=False)
    reason = result.teacher_maps["why_live"]
    assert reason == "its augmentation cannot be replayed (PhotoMetricDistortion)"
    assert not (cache_root() / "maps").exists()


def test_a_random_teacher_runs_live(shapes_run):
    result = run(shapes_run("random", **{"model.teacher.checkpoint": "random"}), resume=False)
    assert "random teacher" in result.teacher_maps["why_live"]


def test_a_cache_that_cannot_be_written_costs_a_warning(
    shapes_run, one_by_one, monkeypatch, tmp_path, capfd
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOURIERKD_CACHE", str(tmp_path / "file"))
    result = run(shapes_run("unwritable"), resume=False)
    assert result.state == "complete"
    assert "cannot be kept for the next run" in capfd.readouterr().out


LOAD = {"type": "LoadImageFromFile"}
FLIP = {"type": "RandomFlip", "prob": 0.5}


@pytest.mark.parametrize(
    ("pipeline", "variants"),
    [
        ([LOAD], 1),
        ([LOAD, FLIP], 2),
        ([LOAD, FLIP, {**FLIP, "direction": "vertical"}], 4),
        ([LOAD, {**FLIP, "direction": ["horizontal", "vertical", "diagonal"]}], 4),
        ([LOAD, {"type": "mmdet.Resize", "scale": (8, 8)}, {"type": "mmdet.PackDetInputs"}], 1),
    ],
)
def test_flips_multiply_the_images(pipeline, variants):
    assert image_variants({"type": "X", "pipeline": pipeline}) == (variants, None)
    wrapped = {"type": "RepeatDataset", "dataset": {"type": "X", "pipeline": pipeline}}
    assert image_variants({"type": "ConcatDataset", "datasets": [wrapped]}) == (variants, None)


@pytest.mark.parametrize(
    "dataset",
    [
        {"type": "X", "pipeline": [LOAD, {"type": "RandomCrop", "crop_size": 4}]},
        {"type": "X", "pipeline": [LOAD, {"type": "mmdet.RandomResize", "scale": (8, 8)}]},
        {"pipeline": [{"type": "Mosaic"}], "dataset": {"pipeline": [LOAD]}},
        {"type": "ToyDataset"},
        {"type": "ToyDataset", "pipeline": []},
    ],
)
def test_anything_else_is_refused(dataset):
    assert image_variants(dataset)[0] == 0
