"""Colour and index maps: both formats give the same map, and a mistake names its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourierkd.data.label_maps import read_colours, read_remap
from fourierkd.errors import DataError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "Sky,128,128,128\nTree,128,128,0\n"),
        ("m.csv", "name,r,g,b\r\nSky, 128, 128, 128\r\n\r\nTree,128,128,0"),
        ("m.CSV", "\ufeffname,Red,Green,Blue\nSky,128,128,128\nTree,128,128,0\n"),
        ("m.json", '{"Sky": [128, 128, 128],\n "Tree": [128, 128, 0]}'),
    ],
)
def test_colours(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    colours = read_colours(tmp_path / name)
    assert list(colours.items()) == [("Sky", (128, 128, 128)), ("Tree", (128, 128, 0))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "from,to\n11,255\n0,1\n"),
        ("m.csv", "11,255\n0,1\n"),
        ("m.json", json.dumps({"11": 255, "0": 1})),
    ],
)
def test_remap(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_remap(tmp_path / name) == {11: 255, 0: 1}


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("m.csv", "Sky,1,2,3\nTree,1,2\n", 2, "4 cells, got 'Tree,1,2'"),
        ("m.csv", "Sky,a,b,c\n", 1, "three whole numbers"),
        ("m.csv", "name,r,g,b\nSky,1,2,256\n", 2, "0 to 255"),
        ("m.csv", "Sky,1,2,3\n\nSky,1,2,4\n", 3, "given once, got 'Sky'"),
        ("m.csv", "Sky,1,2,3\nTree,1,2,3\n", 2, r"given once, got \(1, 2, 3\)"),
        ("m.json", '{"Sky": [1, 2, 3],\n "Tree": [1, 2, 3}', 2, "must be JSON"),
        ("m.json", '{"Sky": [1, 2, 3],\n\n "Tree": [1, 2]}', 3, "three whole numbers"),
        ("m.json", '{"Sky": [1, 2, 3],\n "Tree": [1, 2, 2.5]}', 2, "three whole numbers"),
        ("m.json", '{"Sky": [1, 2, 3],\n "Tree": true}', 2, "three whole numbers"),
        ("m.json", '{"Sky": [1, 2, 3],\n "Sky": [1, 2, 4]}', 2, "given once, got 'Sky'"),
        ("m.json", '{"Sky": {"r": 1}}', 1, "three whole numbers"),
        ("m.json", '[["Sky", [1, 2, 3]]]', 1, "JSON object"),
    ],
)
def test_a_colour_mistake_names_the_line(
    tmp_path: Path, name: str, text: str, line: int, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_colours(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("from,to\n1,256\n", 2, "new 0..255"),
        ("1,2\nx,3\n", 2, "whole numbers"),
        ("1,2\n1,3\n", 2, "given once, got 1"),
        ("1,2\n3\n", 2, "2 cells"),
    ],
)
def test_an_index_mistake_names_the_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_remap(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_files_that_are_no_maps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must exist"):
        read_colours(tmp_path / "none.csv")
    for name, data, message in [
        ("m.txt", b"Sky,1,2,3", "must be .json or .csv"),
        ("e.csv", b"name,r,g,b\n", "must hold entries"),
        ("e.json", b"{}", "must hold entries"),
        ("b.csv", b"\xff\xfe\x00", "UTF-8"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_colours(tmp_path / name)
