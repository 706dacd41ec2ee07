"""The shared search: its arms are points of its own space, the published one is the pairs' own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from fourierkd.config.load import load_config
from sweeps.points import branches, match
from sweeps.study_file import load_study

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STUDIES = {path.stem: load_study(path) for path in sorted(CONFIGS.glob("studies/*.py"))}


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_but_the_student_alone_is_a_point_of_the_space(name):
    study = STUDIES[name]
    found = {arm: match(study.space, options) for arm, options in study.arms.items()}
    assert found.pop("student_alone")[0] is None
    for arm, (parameters, why) in found.items():
        assert parameters is not None, why
        assert parameters["method"] == arm
    # each method with each of its masks, but for what an arm takes
    first = branches(study.space, [parameters for parameters, _ in found.values()])
    masks = [(b["method"], m) for b in first for key, m in b.items() if key.endswith(".mask")]
    bands = ["low_pass", "high_pass", "band_pass"]
    assert masks == [("spectral_l2", band) for band in bands] + [
        ("fourier", mask) for mask in ["all_pass", *bands]
    ]
    sums = ["feature_l2_iou", "pkd_iou"] if study.metric == "bbox_mAP" else []
    assert [b["method"] for b in first if b["method"] not in ("spectral_l2", "fourier")] == sums
    assert len(first) == len(masks) + len(sums)
    assert not study.start_points  # nothing found by hand
    # what is known of the mended form's settings is a point of the space too
    mended, why = match(study.space, study.reference_arms["published_mended"])
    assert mended is not None, why
    assert mended["fourier.sphere_radius.radius"] == 1.0


@pytest.mark.parametrize("name", STUDIES)
def test_losses_carry_their_methods_name(name):
    study = STUDIES[name]
    for method in ("pkd", "feature_l2"):
        losses = load_config(study.config, study.arms[method]).model.losses
        assert list(losses) == [method]
    assert not load_config(study.config, study.arms["student_alone"]).model.losses
    assert set(study.method_files()) == {
        f"{part}.py" for method in study.all_methods() for part in method.split("+")
    }


@pytest.mark.parametrize(
    ("pair", "task"),
    [
        ("seg/fourier_pspnet_r101-d8_pspnet_r18-d8_4xb2-40k_cityscapes-512x512", "seg"),
        ("det/fourier_fpn_retina_r101_retina_r50_2x_coco", "det"),
    ],
)
def test_published_means_the_same_in_pairs_run_configs_and_studies(pair, task):
    losses = load_config(CONFIGS / f"{pair}.py").model.losses.to_dict()
    assert losses["fourier"]["loss"]["compat"] == "paper_code"
    if task == "seg":
        assert losses["fourier"]["connector"] == "ConvModule"
    ours = [s for s in STUDIES.values() if (s.metric == "mIoU") == (task == "seg")]
    assert len(ours) >= 2
    for study in ours:
        model = load_config(study.config).model
        expected = copy.deepcopy(losses)
        if task == "seg":  # the last stage of the backbone, as published, however many it has
            last = f"backbone.layer{model.student.backbone.get('num_stages', 4)}"
            expected["fourier"] |= {"student_tap": last, "teacher_tap": last}
        plain = model.losses.to_dict()
        arm = load_config(study.config, study.arms["published"]).model.losses.to_dict()
        assert plain == arm == expected
        mended = load_config(
            study.config, study.reference_arms["published_mended"]
        ).model.losses.to_dict()
        # no other value than FourierLoss's own defaults, which are the mended form
        for key, value in {"mask": {"type": "AllPass"}, "sphere_radius": 1.0}.items():
            assert mended["fourier"]["loss"].pop(key) == value
        for part in ("noise", "fusion", "predictor", "similarity", "normalize"):
            assert mended["fourier"]["loss"].pop(part) is True
        assert mended["fourier"]["loss"].pop("detach_similarity") is False
        del expected["fourier"]["loss"]["compat"]
        assert mended == expected


def test_a_schedule_of_another_length_is_one_whole_cycle():
    study = STUDIES["shapes_seg"]
    config = load_config(study.config, study.options)
    assert config.train_cfg.max_iters == config.param_scheduler.total_steps == 960
    assert config.train_cfg.val_interval == 192
    detectors = STUDIES["shapes_det"]
    teacher = load_config(detectors.teacher["config"], detectors.teacher["options"])
    assert teacher.train_cfg.max_iters == teacher.param_scheduler.total_steps == 1600
    assert teacher.train_cfg.val_interval == 200  # as its config says
