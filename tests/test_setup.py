"""The pins: complete, exact, in agreement with each other, and enough without torchvision."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools import build_ops

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OUTSIDE = {"torch", "onedl-mmcv"}  # have set-up steps of their own


def locked() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("python", ["3.10.0", "3.11.7", "3.12.1"])
def test_each_python_gets_one_exact_version_of_each_direct_dependency(python: str) -> None:
    environment = {"python_full_version": python, "python_version": python.rpartition(".")[0]}
    chosen: dict[str, str] = {}
    for pin in locked():
        if pin.marker is None or pin.marker.evaluate(environment):
            assert pin.name not in chosen
            (specifier,) = pin.specifier
            assert specifier.operator == "=="
            chosen[pin.name] = specifier.version
    groups = (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for wanted in (Requirement(line) for group in groups for line in group):
        if wanted.name not in OUTSIDE:
            assert wanted.specifier.contains(chosen[wanted.name]), wanted


def test_what_must_not_be_installed_is_not_locked() -> None:
    # opencv-python needs libGL; stock MM packages would shadow the maintained forks
    unwanted = {"torchvision", "opencv-python", "mmcv", "mmengine", "mmdet", "mmsegmentation"}
    assert not {pin.name for pin in locked()} & (OUTSIDE | unwanted)


def test_the_set_up_steps_install_the_declared_versions() -> None:
    declared = {Requirement(line).name: line for line in PROJECT["dependencies"]}
    assert f"pip install {declared['torch']})" in (ROOT / "Makefile").read_text()
    assert declared["onedl-mmcv"] == f"{build_ops.DISTRIBUTION}=={build_ops.VERSION}"


def test_what_is_installed_fits_together() -> None:
    """``pip check`` finds only what the head of constraints.txt leaves out on purpose."""
    run = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False
    )
    left_out = r"opencv-python|imagecorruptions-imaug|opencv-python-headless<"
    found = [line for line in run.stdout.splitlines() if "requires" in line or "has req" in line]
    assert [line for line in found if not re.search(rf" ({left_out})", line)] == []
    assert len(found) >= 3  # it looked


def test_every_program_of_the_readme_is_installed() -> None:
    """What the README types after ``source .venv/bin/activate``, but for the desktop's opener."""
    commands = (ROOT / "README.md").read_text().split("source .venv/bin/activate")[1]
    block = commands.split("```sh\n")[1].split("```")[0]
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    words = [[w for w in shlex.split(line, comments=True) if "=" not in w] for line in lines]
    programs = {w[0] if w[0] != "jupyter" else f"jupyter-{w[1]}" for w in words if w}
    assert programs >= {"fourierkd", "python", "jupyter-lab"}
    bin_folder = Path(sys.executable).parent
    assert {p for p in programs - {"xdg-open", "eval"} if not (bin_folder / p).exists()} == set()


def test_no_index_address_is_written_down() -> None:
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|file://|index-url|find-links|--extra-index", text), name


def test_both_model_families_build_and_run_without_torchvision() -> None:
    code = """
import sys
sys.modules["torchvision"] = None  # any import of it now fails
from pathlib import Path
import mmdet.apis, mmseg.apis, torch
from mmengine.config import Config

def build(package, name):
    config = Config.fromfile(Path(package.__file__).parent / ".mim" / "configs" / name)
    package.utils.register_all_modules(init_default_scope=True)
    model = config.model.to_dict()
    model["backbone"].pop("init_cfg", None), model.pop("pretrained", None)
    model["backbone"]["norm_cfg"] = dict(type="BN")
    return package.registry.MODELS.build(model).eval()

image = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    points = build(mmdet, "reppoints/reppoints-moment_r50_fpn_1x_coco.py")
    assert len(points(image)[0]) == 5
    boxes = build(mmdet, "retinanet/retinanet_r18_fpn_1x_coco.py")
    assert len(boxes(image)[0]) == 5
    pixels = build(mmseg, "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py")
    assert pixels(image).shape == (1, 19, 8, 8)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
