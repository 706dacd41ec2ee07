"""A score stands beside a published number of its protocol alone; else what differs is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fourierkd.analysis import results_table
from fourierkd.analysis.protocol import Protocol, protocol
from fourierkd.analysis.published import beside_published, ledger
from fourierkd.analysis.report import write_report
from fourierkd.cli import run_command
from fourierkd.literals import config_text
from fourierkd.methods import method_names
from fourierkd.run_dir import RunDir, write_atomic

Build = Callable[..., RunDir]
ALONE = [  # PSPNet-R18 alone: crop, schedule, processes, what was published under them
    ((512, 512), 40000, 4, "69.85"),
    ((512, 1024), 40000, 8, "72.55"),
    ((512, 1024), 80000, 4, "74.87"),
]
PUBLISHED = {
    "fourier": {
        "student_tap": "backbone.layer4",
        "teacher_tap": "backbone.layer4",
        "loss": {"type": "FourierLoss", "loss_weight": 41.0, "compat": "paper_code"},
        "connector": "ConvModule",
    }
}


def pspnet(
    crop: tuple[int, int] = (512, 512), iterations: int = 40000, **model: Any
) -> dict[str, Any]:
    """The resolved config of PSPNet-R18 on Cityscapes, as a run folder has it."""

    def loader(part: str, *steps: dict[str, Any]) -> dict[str, Any]:
        places = {"img_path": f"leftImg8bit/{part}", "seg_map_path": f"gtFine/{part}"}
        data = {"type": "mmseg.CityscapesDataset", "data_prefix": places, "pipeline": list(steps)}
        return {"batch_size": 2, "dataset": data}

    resized = {"type": "RandomResize", "scale": (2048, 1024)}
    whole = {"type": "Resize", "scale": (2048, 1024), "keep_ratio": True}
    return {
        "metric": "mIoU",
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": iterations},
        "train_dataloader": loader("train", resized, {"type": "RandomCrop", "crop_size": crop}),
        "val_dataloader": loader("val", whole),
        "test_dataloader": loader("val", whole),
        "model": {
            "student": {
                "config": "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py",
                "overrides": {"data_preprocessor.size": crop},
            },
            "losses": {},
            **model,
        },
    }


def scored_smaller() -> dict[str, Any]:
    config = pspnet()
    config["val_dataloader"]["dataset"]["pipeline"][0]["scale"] = (1024, 512)
    return config


def taught(losses: dict[str, Any], **teacher: Any) -> dict[str, Any]:
    name = "mmseg::pspnet/pspnet_r101-d8_4xb2-40k_cityscapes-512x1024.py"
    known = {"model": name, "checkpoint": "/zoo/t.pth"}
    return pspnet(losses=losses, teacher=known | teacher)


@pytest.fixture
def build(build_run: Build) -> Callable[..., RunDir]:
    """A run folder with its resolved config, trained by four processes."""

    def make(name: str, config: dict[str, Any], *, ranks: int = 4, **known: Any) -> RunDir:
        run = build_run(name, **{"value": 70.0, "phase": "final"} | known)
        run.config.write_text(config_text(config))
        write_atomic(run.environment, f'{{"ranks": {ranks}}}')
        return run

    return make


def lines(runs: list[RunDir], phase: str = "final") -> list[str]:
    table = results_table(runs, work_dir=Path("/"))
    return beside_published(table, "/", metric="mIoU", phase=phase)


@pytest.mark.parametrize(("crop", "iterations", "ranks", "number"), ALONE)
def test_of_three_numbers_of_one_student_that_of_the_protocol_counts(
    build: Build, tmp_path: Path, crop: tuple[int, int], iterations: int, ranks: int, number: str
) -> None:
    config = pspnet(crop, iterations)
    known = {"method": "student_alone", "ranks": ranks}
    (line,) = lines([build(f"alone{s}", config, seed=s, **known) for s in (1, 2)])
    assert line.startswith(f"student_alone has 70.00 (2 seeds) beside {number} mIoU of student ")
    assert line.endswith(", of one protocol")


@pytest.mark.parametrize(
    ("change", "ranks", "said"),
    [
        ({"train_cfg": {"max_iters": 20000}}, 4, "the schedule is 20000 iterations, there 40000 "),
        ({}, 1, "the number of images a step is 2, there 8"),
        (pspnet((256, 256)), 4, "the size is 256x256, there 512x512"),
        (pspnet((512, 1024)), 4, "the schedule is 40000 iterations, there 80000"),  # 72.55: of 16
        (scored_smaller(), 4, "the size of scored images is 1024x512, there 2048x1024"),
        ({"model": {**pspnet()["model"], "pretrained": False}}, 4, "backbone is not pretrained"),
    ],
)
def test_the_part_that_differs_is_named(
    build: Build, change: dict[str, Any], ranks: int, said: str
) -> None:
    run = build("alone", pspnet() | change, method="student_alone", ranks=ranks)
    (line,) = lines([run])
    number = "74.87" if "80000" in said else "69.85"
    assert line.startswith(f"student_alone is not compared with {number} mIoU of student alone as ")
    assert said in line
    assert ";" not in line  # nothing else


def test_other_data_or_another_split_is_another_protocol(build: Build) -> None:
    config = pspnet()
    config["test_dataloader"]["dataset"]["data_prefix"]["img_path"] = "leftImg8bit/test"
    run = build("alone", config, method="student_alone", test=69.0)
    (line,) = lines([run])
    assert "what is scored is Cityscapes test, there Cityscapes val" in line
    config = pspnet()
    config["train_dataloader"]["dataset"]["indices"] = 100
    (line,) = lines([build("few", config, method="student_alone")])
    assert "what is trained on is Cityscapes train, a part of its images, there Citys" in line


def test_a_method_stands_beside_its_own_number_and_another_beside_the_highest(
    build: Build,
) -> None:
    losses = {"l2": {"loss": {"type": "L2Loss"}}}
    runs = [
        build("a", taught(PUBLISHED), method="published"),
        build("b", taught(losses), method="mgd"),
        build("c", taught(losses), method="tuned"),
        build("d", taught(losses, control="other_image"), method="control"),
    ]
    first, second, third, fourth = lines(runs)
    assert "published has 70.00 (1 seed) beside 74.86 mIoU of FourierKD as published" in first
    assert "mgd has 70.00 (1 seed) beside 73.63 mIoU of MGD as published" in second
    assert second.endswith("as far as it is published (not: the number of images a step)")
    assert "tuned has 70.00 (1 seed) beside 74.86 mIoU of FourierKD as published" in third
    assert fourth.startswith("control is not compared with 74.86 mIoU of FourierKD as published")
    assert fourth.endswith("README of its code): the teacher has a control")


def retinanet(teacher: str, **model: Any) -> dict[str, Any]:
    """The resolved config of RetinaNet-R50 of two epochs' data, 12 times, taught by an X101."""

    def loader(part: str) -> dict[str, Any]:
        steps = [{"type": "Resize", "scale": (1333, 800), "keep_ratio": True}]
        data = {"type": "mmdet.CocoDataset", "pipeline": steps}
        data["ann_file"] = f"annotations/instances_{part}2017.json"
        return {"batch_size": 2, "dataset": data}

    train = loader("train")
    train["dataset"] = {"type": "RepeatDataset", "times": 12, "dataset": train["dataset"]}
    return {
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 2},
        "train_dataloader": train,
        "val_dataloader": loader("val"),
        "model": {
            "student": "mmdet::retinanet/retinanet_r50_fpn_2x_coco.py",
            "teacher": {"model": f"mmdet::retinanet/retinanet_x101-64x4d_fpn_{teacher}.py"},
            "losses": {"l2": {"loss": {"type": "L2Loss"}}},
            **model,
        },
    }


INHERITED = {"inherit": ["neck", "bbox_head"]}


@pytest.mark.parametrize(
    ("method", "teacher", "model", "said"),
    [
        ("pkd", "1x_coco", {}, "has 0.40 beside 0.408"),
        ("fgd", "1x_coco", INHERITED, "has 0.40 beside 0.407"),
        ("mgd", "ms-640-800-3x_coco", INHERITED, "has 0.40 beside 0.410"),
        ("other", "ms-640-800-3x_coco", INHERITED, "has 0.40 beside 0.411 bbox_mAP of DetKDS"),
        ("pkd", "2x_coco", {}, "0.408.*: the teacher's schedule is 2x_coco, there 1x_coco"),
        (
            "pkd",
            "1x_coco",
            INHERITED,
            "0.408.*: what the student takes over from the teacher is bbox_head . neck, there noth",
        ),
        ("fgd", "1x_coco", {}, "0.407.*teacher is nothing, there bbox_head . neck"),
    ],
)
def test_a_teacher_of_other_weights_and_another_start_are_another_protocol(
    build: Build, method: str, teacher: str, model: dict[str, Any], said: str
) -> None:
    config = retinanet(teacher, **model)
    run = build("one", config, method=method, value=0.4, ranks=8)
    table = results_table([run], work_dir=Path("/")).assign(metric="bbox_mAP")
    (line,) = beside_published(table, "/", metric="bbox_mAP")
    assert re.search(said.replace("0.40 ", r"0.400 \(1 seed\) "), line), line
    assert ";" not in line  # nothing else
    assert ("not compared" in line) == ("there" in said)


def test_what_differs_in_all_methods_is_said_once(build: Build) -> None:
    losses = {"l2": {"loss": {"type": "L2Loss"}}}
    runs = [build(name, taught(losses), method=name, ranks=1) for name in ("tuned", "l2")]
    (line,) = lines(runs)
    assert line.startswith("tuned, l2 are not compared with 74.86 mIoU of FourierKD as published")
    assert line.endswith(": the number of images a step is 2, there 8")


def test_pairs_without_a_number_are_silent(build: Build, build_run: Build) -> None:
    inline = pspnet(student={"type": "mmseg.EncoderDecoder"})
    other = pspnet()
    other["val_dataloader"]["dataset"] = {"type": "CamVid", "pipeline": []}
    without = build_run("old", phase="final", method="student_alone")  # no config.py
    runs = [build("a", inline, method="a"), build("b", other, method="b"), without]
    assert lines(runs) == []
    assert lines([]) == []


def test_the_report_has_them(build: Build, tmp_path: Path) -> None:
    run = build("alone", pspnet(), method="student_alone")
    table = results_table([run], work_dir=tmp_path)
    page = write_report(tmp_path, table).read_text()
    assert "Published numbers of this pair" in page
    assert "beside 69.85 mIoU of student alone as published" in page
    table.loc[0, "run_dir"] = "nowhere"
    assert "Published numbers" not in write_report(tmp_path, table).read_text()


@pytest.mark.parametrize("config", [pspnet(), taught(PUBLISHED)])
def test_a_single_run_says_it_at_its_end(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict[str, Any]
) -> None:
    """Of a run that was told no method, that of its losses counts: FourierKD has its own number."""
    run = build("one", config, phase="single", method="run", study=None)
    where = ["--work-dir", str(run.path), "--resume"]
    assert run_command(["train", str(run.config), *where]) == 0  # it is complete
    value = "74.86 mIoU of FourierKD" if "teacher" in config["model"] else "69.85 mIoU of student"
    assert f"run has 70.00 (1 seed) beside {value}" in capsys.readouterr().out


def test_the_ledger_is_whole() -> None:
    found = ledger()
    assert len({(row.protocol, row.method) for row in found}) == len(found)  # no number twice
    for row in found:
        assert row.ours in ("", *method_names())
        assert (row.ours == "student_alone") == (row.protocol.teacher == "")
        assert row.source
        assert 0.2 < row.value < 0.6 if row.protocol.metric == "bbox_mAP" else 60 < row.value < 90
        assert all(getattr(row.protocol, part) for part in ("schedule", "size", "split"))
        assert row.protocol.scored_at in ("1333x800", "2048x1024")
        assert row.protocol.teacher or row.protocol.starts_from == "nothing"


def test_what_a_detector_is_trained_by() -> None:
    part = {"type": "mmdet.CocoDataset", "pipeline": [{"type": "Resize", "scale": (1333, 800)}]}
    config = {
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 12},
        "optim_wrapper": {"accumulative_counts": 2},
        "train_dataloader": {
            "batch_size": 4,
            "dataset": {
                "type": "RepeatDataset",
                "times": 3,
                "dataset": part | {"ann_file": "annotations/instances_train2017.json"},
            },
        },
        "val_dataloader": {"dataset": part | {"ann_file": "a/instances_val2017.json"}},
        "model": {
            "student": {
                "config": "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py",
                "overrides": {
                    "backbone": {"type": "MobileNetV2"},
                    "neck.in_channels": [24, 32, 96, 1280],
                    "bbox_head.stacked_convs": 2,
                },
            }
        },
    }
    assert protocol(config, split="val", metric="bbox_mAP", ranks=2) == Protocol(
        student="retinanet_r18_fpn+MobileNetV2",
        teacher="",
        teacher_schedule="",
        starts_from="nothing",
        schedule="36 epochs",
        batch="16",
        size="1333x800",
        trained_on="COCO train2017",
        split="COCO val2017",
        scored_at="1333x800",
        metric="bbox_mAP",
        changes="the student's bbox_head.stacked_convs",
    )
    nothing = dict.fromkeys(Protocol._fields, "") | {"starts_from": "nothing", "metric": "AP"}
    assert protocol({}, split="val", metric="AP") == Protocol(**nothing)
    own = part | {"ann_file": "annotations/mine.json"}
    mine = config | {"val_dataloader": {"dataset": own}}
    assert protocol(mine, split="val", metric="bbox_mAP").split == ""
