"""The shared search: its arms are points of its own space, the published one is the pairs' own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from fourierkd.engine.config import load_config
from sweeps.presets import CONNECTOR, IOU, LOSS, loss_search, published
from sweeps.space import branches, match
from sweeps.study import load_study

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize("task", ["seg", "det"])
def test_every_arm_but_the_student_alone_is_a_point_of_the_space(task):
    search = loss_search(task)
    found = {name: match(search["space"], arm) for name, arm in search["arms"].items()}
    assert found.pop("student_alone")[0] is None
    kinds = {}
    for name, (parameters, why) in found.items():
        assert parameters is not None, why
        kinds[name] = parameters["loss"]
    assert kinds == {"published": "published", "pkd": "feature_l2", "feature_l2": "feature_l2"}
    # each loss with each of its masks, but for what an arm takes
    tried = [parameters for parameters, _ in found.values()]
    first = branches(search["space"], tried)
    masks = [(b["loss"], mask) for b in first for key, mask in b.items() if key.endswith(".mask")]
    bands = ["low_pass", "high_pass", "band_pass"]
    assert masks == [("spectral_l2", band) for band in bands] + [
        ("fourier", mask) for mask in ["all_pass", *bands]
    ]
    assert len(first) == len(masks)
    assert "start_points" not in search  # nothing found by hand


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
    options = published(task)
    assert options[LOSS] == losses["fourier"]["loss"]
    if task == "seg":
        assert options[CONNECTOR] == losses["fourier"]["connector"] == {"type": "ConvModule"}
    else:
        assert options[IOU] == losses["iou"]
    studies = [load_study(path) for path in sorted(CONFIGS.glob("studies/*.py"))]
    ours = [s for s in studies if (s.metric == "mIoU") == (task == "seg")]
    assert len(ours) >= 2
    for study in ours:
        assert study.arms["published"] == options
        model = load_config(study.config).model
        expected = copy.deepcopy(losses)
        if task == "seg":  # the last stage of the backbone, as published, however many it has
            last = f"backbone.layer{model.student.backbone.get('num_stages', 4)}"
            expected["fourier"] |= {"student_tap": last, "teacher_tap": last}
        plain = model.losses.to_dict()
        assert plain == load_config(study.config, options).model.losses.to_dict() == expected
        mended = load_config(
            study.config, study.reference_arms["published_mended"]
        ).model.losses.to_dict()
        assert mended["fourier"]["loss"].pop("compat") == "fixed"
        del expected["fourier"]["loss"]["compat"]
        assert mended == expected
