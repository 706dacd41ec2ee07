"""An unreadable image is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fourierkd.data.images import is_deep, read_header, read_image
from fourierkd.errors import DataError


def picture(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_a_damaged_image_is_named(tmp_path: Path, suffix: str, keep: float) -> None:
    bad = picture(tmp_path / f"b{suffix}")
    read_image(bad)
    data = bad.read_bytes()
    bad.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"an image must be readable .*b\.") as caught:
        read_image(bad)
    assert caught.value.value == str(bad)


def test_missing_and_text_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist.*missing\.jpg"):
        read_image(tmp_path / "missing.jpg")
    (tmp_path / "text.jpg").write_text("no image at all, but long enough to hold a header")
    with pytest.raises(DataError, match=r"unknown format.*text\.jpg"):
        read_image(tmp_path / "text.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_head_says_what_opencv_loads(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (10, 6)).save(path, exif=exif)
    header = read_header(path)
    assert header.stored == (10, 6)
    assert header.orientation == orientation
    assert header.loaded == cv2.imread(str(path)).shape[1::-1]
    assert not header.deep


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(6, 10), (6, 10, 3)])
def test_the_head_says_the_depth(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / f"a{suffix}"
    for kind, deep in ((np.uint8, False), (np.uint16, True)):
        cv2.imwrite(str(path), np.zeros(shape, kind))
        assert read_header(path).deep == deep
    assert not is_deep("BGR;16")  # 5, 6 and 5 bits


def test_a_head_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist.*missing\.jpg"):
        read_header(tmp_path / "missing.jpg")
