"""`fourierkd data ...` from its arguments to its files, with light imports."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.data.commands import SHAPES_OPTIONS, add_data_parser
from fourierkd.data.shapes import ShapesSpec
from fourierkd.errors import ConfigError, DataError


def call(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_data_parser(parser.add_subparsers())
    args = parser.parse_args(["data", *map(str, arguments)])
    code: int = args.func(args)
    return code


def test_every_parameter_is_an_option() -> None:
    assert [name for name, *_ in SHAPES_OPTIONS] == [field.name for field in fields(ShapesSpec)]


def test_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shapes"
    small = ("--size", "4", "--val-size", "2", "--image-size", "32", "--radius", "4", "8")
    chosen = ("--seed", "3", "--orientations", "0", "90", "--outlines", "disc", "triangle")
    assert call("shapes", "--out", out, *small, *chosen) == 0
    assert "written, 4 train, 2 val, 1 test, 8 classes" in capsys.readouterr().out
    parameters = json.loads((out / "manifest.json").read_text())["parameters"]
    assert parameters["orientations"] == [0, 90]
    assert (parameters["seed"], parameters["count"]) == (3, [2, 3])
    assert call("shapes", "--out", out, *small, *chosen) == 0
    assert "whole already" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"keeps its parameters \(seed is 3, not 4\)"):
        call("shapes", "--out", out, *small, *chosen, "--seed", "4")
    assert call("shapes", "--out", out, *small, *chosen, "--seed", "4", "--force") == 0
    assert "written" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="size must be"):
        call("shapes", "--out", out, "--size", "0")


def test_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("img", "ann"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "map.csv").write_text("Sky,0,0,0\nTree,1,1,1\n")
    folders = ("--images", tmp_path / "img", "--masks", tmp_path / "ann", "--out", tmp_path / "o")
    assert call("masks", *folders, "--split", "val", "--colours", tmp_path / "map.csv") == 0
    printed = capsys.readouterr().out
    assert "img_suffix='.png'" in printed
    assert "classes=['Sky', 'Tree']" in printed
    assert "0: 100.00 %" in printed
    assert "warning: the masks hold the labels [0] and 255" in printed
    assert np.array(Image.open(tmp_path / "o/masks/val/a.png")).tolist() == [[0] * 4] * 4


def test_voc2coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    box = "<xmin>0</xmin><ymin>0</ymin><xmax>4</xmax><ymax>4</ymax>"
    (tmp_path / "a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>4</width><height>4</height></size>"
        f"<object><name>cell</name><bndbox>{box}</bndbox></object></annotation>"
    )
    folders = ("--annotations", tmp_path, "--images", tmp_path, "--out", tmp_path / "a.json")
    with pytest.raises(DataError, match="must lie in the image"):
        call("voc2coco", *folders)
    assert call("voc2coco", *folders, "--zero-based", "--classes", "cell", "nucleus") == 0
    printed = capsys.readouterr().out
    assert "1 images, 1 objects of cell, nucleus" in printed
    assert "left out" not in printed
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "b.png")
    assert call("voc2coco", *folders, "--zero-based") == 0
    printed = capsys.readouterr().out
    assert f"left out: images without annotation in {tmp_path}: 1 *.png (b.png)" in printed
    assert json.loads((tmp_path / "a.json").read_text())["annotations"][0]["area"] == 16


def test_parsing_imports_no_arrays() -> None:
    code = (
        "import argparse, sys\n"
        "from fourierkd.data.commands import add_data_parser\n"
        "add_data_parser(argparse.ArgumentParser().add_subparsers())\n"
        "print([m for m in ('numpy', 'PIL', 'torch', 'mmengine') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
