"""An unreadable image is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.data.images import check_images, read_image
from fourierkd.errors import DataError


def picture(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_all_readable(tmp_path: Path) -> None:
    assert check_images([picture(tmp_path / "a.jpg"), picture(tmp_path / "b.png")]) == 2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_the_first_damaged_image_is_named(tmp_path: Path, suffix: str, keep: float) -> None:
    good, bad = picture(tmp_path / f"a{suffix}"), picture(tmp_path / f"b{suffix}")
    data = bad.read_bytes()
    bad.write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(DataError, match=r"an image must be readable .*b\.") as caught:
        check_images([good, bad, tmp_path / "missing.jpg"])
    assert caught.value.value == str(bad)


def test_missing_and_text_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist.*missing\.jpg"):
        read_image(tmp_path / "missing.jpg")
    (tmp_path / "text.jpg").write_text("no image at all, but long enough to hold a header")
    with pytest.raises(DataError, match=r"unknown format.*text\.jpg"):
        read_image(tmp_path / "text.jpg")
