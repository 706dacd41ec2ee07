"""A component study trains its design, goes on after a kill, and says which parts matter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_driver import InProcess

from fourierkd.analysis import load_results
from fourierkd.config.load import load_config
from fourierkd.errors import ConfigError, StudyError
from fourierkd.losses import FourierLoss
from sweeps.coordinator import run_study
from sweeps.factors import PARTS, component_study
from sweeps.run import main
from sweeps.study_file import load_study
from sweeps.tables import report

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SEGMENTATION, DETECTION = (
    CONFIGS / "studies/shapes_low.py",
    CONFIGS / "studies/shapes_det.py",
)


def sent(executor: InProcess) -> list[str]:
    return [name for did, name, _ in executor.log if did == "sent"]


def test_the_design_is_trained_with_equal_seeds_and_its_effects_are_said(
    study_file, tmp_path, capsys
):
    """The fake's score gains 4.5 by the low pass, and nothing by another part."""
    work = tmp_path / "work"
    study = component_study(study_file, ["noise", "mask"], seeds=3)
    executor = InProcess()
    run_study(study, work, executor=executor)
    names = ("with_mask", "without_noise_with_mask", "fourier", "without_noise")
    assert sorted(sent(executor)) == sorted(
        f"final_{name}_seed{seed}" for name in names for seed in (1000, 1001, 1002)
    )
    out = " ".join(capsys.readouterr().out.split())
    assert "mask 31.54 27.04 +4.50 [+4.50, +4.50] 3 better" in out
    assert "noise 29.29 29.29 +0.00 [+0.00, +0.00] 3 equivalent" in out
    assert "all 4 combinations are trained, so nothing is mixed" in out
    page = (work / "report.html").read_text()
    said = "mask: on is better than off: +4.50 score"
    assert said in page
    assert "difference to with_mask" in page  # all parts are on in the reference
    (work / "report.html").unlink()
    report(work)  # from the files alone
    assert said in (work / "report.html").read_text()
    study = json.loads((work / "study.json").read_text())
    assert study["report"]["parts"]["with_mask"] == ["noise", "mask"]


def test_a_component_study_goes_on_and_takes_more_seeds(study_file, tmp_path):
    parts = ["noise", "similarity", "sphere", "mask"]
    first, more = InProcess(), InProcess()
    run_study(component_study(study_file, parts, seeds=1), tmp_path / "work", executor=first)
    assert len(sent(first)) == 8
    run_study(component_study(study_file, parts, seeds=2), tmp_path / "work", executor=more)
    assert len(sent(more)) == 8
    assert not set(sent(first)) & set(sent(more))
    assert len(load_results(tmp_path / "work")) == 16


def test_the_order_of_the_parts_makes_no_other_runs(study_file):
    given, turned = (
        component_study(study_file, parts, seeds=1)
        for parts in (list(PARTS)[:6], list(PARTS)[5::-1])
    )
    assert given.reference_arms == turned.reference_arms
    assert given.baseline == turned.baseline


def test_a_failed_run_takes_its_seed_out_of_the_effects(study_file, tmp_path, capsys):
    overrides = {"options.fake.fail": "exception"}
    study = component_study(study_file, ["mask"], seeds=1, overrides=overrides)
    run_study(study, tmp_path / "work")
    out = " ".join(capsys.readouterr().out.split())
    assert "seed 1000 does not count, as it lacks with_mask, fourier" in out


def test_the_first_run_is_as_published_and_every_part_can_be_moved():
    parts = [part for part in PARTS if part != "iou"]
    study = component_study(SEGMENTATION, parts, seeds=5)
    assert study.name == "shapes_low_components"  # beside the comparisons of this config
    assert len(study.reference_arms) == 16
    assert study.baseline == next(iter(study.parts)) == "with_mask_defects"
    assert set(study.parts[study.baseline]) == set(parts)
    values = {}
    for name, options in study.reference_arms.items():
        loss = load_config(study.config, {**options, **study.options}).model.losses.fourier.loss
        on = study.parts[name]
        assert loss.pop("type") == "FourierLoss"
        assert loss.loss_weight == 41
        switches = ("noise", "fusion", "predictor", "similarity", "normalize")
        assert {key: loss[key] for key in switches} == {key: key in on for key in switches}
        assert loss.sphere_radius == (1 if "sphere" in on else None)
        assert loss.mask.type == ("LowPass" if "mask" in on else "AllPass")
        assert loss.get("compat", "fixed") == ("paper_code" if "defects" in on else "fixed")
        torch.manual_seed(0)
        value = FourierLoss(in_channels=3, **loss)(*torch.randn(2, 2, 3, 8, 8))
        assert value.isfinite()
        values[name] = float(value.detach())
    assert len(set(values.values())) == 16


def test_the_iou_loss_is_a_part_of_detectors():
    study = component_study(DETECTION, ["iou", "noise"], seeds=1)
    for name, options in study.reference_arms.items():
        losses = load_config(study.config, {**options, **study.options}).model.losses
        assert ("iou" in losses) == ("iou" in study.parts[name])
    with pytest.raises(ConfigError, match="the part iou is one of detectors"):
        component_study(SEGMENTATION, ["iou", "noise"], seeds=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--factors", ","], "a component study names parts; --factors noise,fusion,"),
        (["--factors", "nose"], "part of FourierLoss, got 'nose'; did you mean 'noise'"),
        (["--factors", "mask,noise,mask"], "a factor is named once, got 'mask'"),
        (["--factors", "mask", "--methods", "pkd"], "runs of one design.*got '--methods'"),
        (["--factors", "mask", "--tune", "3"], "runs of one design.*got '--tune'"),
        (["--factors", "mask", "--until-decided"], "runs of one design.*got '--until-decided'"),
        (["--factors", "mask", "--max-seeds", "9"], "--max-seeds goes with --until-decided"),
        (
            ["--factors", "mask", "--set", "tune=3"],
            r"with equal seeds, got \['tune'\]",
        ),
        (["--factors", "mask", "--reference", "pkd"], "baseline must be an arm, got 'pkd'"),
    ],
)
def test_what_is_no_design_is_refused_in_a_line(study_file, arguments, message):
    with pytest.raises(ConfigError, match=message):
        main(["compare", str(study_file), *arguments])


def test_parts_belong_to_a_design(study_file):
    with pytest.raises(ConfigError, match="parts are those of a component study"):
        load_study(study_file, {"parts": {"published": ["noise"]}})


def test_other_options_are_another_study(study_file, tmp_path):
    study = component_study(study_file, ["mask"], seeds=1)
    run_study(study, tmp_path / "work", executor=InProcess())
    other = component_study(study_file, ["mask"], seeds=1, overrides={"options.x": 1})
    with pytest.raises(StudyError, match="options"):
        run_study(other, tmp_path / "work", executor=InProcess())
