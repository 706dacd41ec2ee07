"""Pictures for tests that read real files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_image(path: Path, height: int, width: int, seed: int) -> None:
    """A smooth colourful picture."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.resize(small, (width, height)))
