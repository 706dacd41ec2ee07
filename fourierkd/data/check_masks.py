"""Index masks: in flows a data set with masks, out flow findings about files and values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourierkd.data import cityscapes
from fourierkd.data.findings import Checked, Data, sample
from fourierkd.data.images import read_image
from fourierkd.errors import DataError

IGNORE = 255


def check_masks(data: Data, checked: Checked, images: int) -> None:
    """Look for every image and its mask, decode ``images`` pairs of them."""
    img_suffix = str(data.config.get("img_suffix") or ".jpg")
    seg_suffix = str(data.config.get("seg_map_suffix") or ".png")
    image_dir = data.path(data.prefix.get("img_path", ""))
    mask_dir = data.path(data.prefix["seg_map_path"])
    names = _names(data, checked, image_dir, img_suffix)
    checked.images = len(names)
    checked.add(
        f"images *{img_suffix} must be in the folder",
        [] if names else [image_dir],
        fix="see data_root, data_prefix and img_suffix",
    )
    lost = [
        image_dir / (n + img_suffix) for n in names if not (image_dir / (n + img_suffix)).is_file()
    ]
    checked.add("an image of ann_file must exist", lost)
    missing = [n for n in names if not (mask_dir / (n + seg_suffix)).is_file()]
    raw = seg_suffix == cityscapes.TARGET and any(mask_dir.rglob(f"*{cityscapes.SOURCE}"))
    checked.add(
        "an image must have a mask",
        [mask_dir / (name + seg_suffix) for name in missing],
        fix=f"run: fourierkd data cityscapes {data.root}" if raw else "see seg_map_suffix",
    )
    masks = {str(p.relative_to(mask_dir)) for p in mask_dir.rglob(f"*{seg_suffix}")}
    alone = sorted(masks - {name + seg_suffix for name in names})
    checked.add("masks without an image", alone, fault=False)
    whole = sorted(set(names) - set(missing) - {_cut(p, image_dir, img_suffix) for p in lost})
    _check_pairs(
        [
            (image_dir / (whole[i] + img_suffix), mask_dir / (whole[i] + seg_suffix))
            for i in sample(len(whole), images)
        ],
        data,
        checked,
    )


def _cut(path: Path, folder: Path, suffix: str) -> str:
    return str(path.relative_to(folder)).removesuffix(suffix)


def _names(data: Data, checked: Checked, folder: Path, suffix: str) -> list[str]:
    """Names of the images under ``folder`` without the suffix, as MMSegmentation finds them."""
    if data.ann_file is None:
        return sorted(_cut(path, folder, suffix) for path in folder.rglob(f"*{suffix}"))
    path = data.path(data.ann_file)
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        checked.add(f"ann_file must be readable ({error.strerror})", [path])
        return []


def _check_pairs(pairs: list[tuple[Path, Path]], data: Data, checked: Checked) -> None:
    bad, coloured, sizes, values = [], [], [], []
    shifted = bool(data.config.get("reduce_zero_label"))
    top = None if data.labels is None else data.labels - (0 if shifted else 1)
    seen = np.zeros(256, bool)
    for image_path, mask_path in pairs:
        try:
            image, mask = read_image(image_path), read_image(mask_path)
        except DataError as error:
            bad.append(f"{error.value}: {error.rule}")
            continue
        checked.opened += 1
        if image.size != mask.size:
            sizes.append(f"{mask_path}: {mask.size}, its image {image.size}")
        if mask.mode not in ("L", "P", "I", "I;16"):
            coloured.append(f"{mask_path}: mode {mask.mode}")
            continue
        found = np.unique(np.asarray(mask))
        seen[found[found < IGNORE]] = True
        wrong = found[(found > top) & (found != IGNORE)] if top is not None else found[:0]
        if wrong.size:
            values.append(f"{mask_path}: {', '.join(map(str, wrong[:5].tolist()))}")
    checked.add("an image and its mask must be readable", bad, fix="restore the file")
    checked.add(
        "a mask must hold indices, not colours", coloured, fix="convert: fourierkd data masks"
    )
    checked.add("a mask must have its image's size (width, height)", sizes)
    checked.add(
        f"mask values must be 0 to {top} or {IGNORE}",
        values,
        fix="convert: fourierkd data masks --remap, or correct metainfo's classes",
    )
    if top is not None and pairs and not values:
        classes = list(data.classes or ())
        first = 1 if shifted else 0
        absent = [
            classes[i - first] if i - first < len(classes) else i
            for i in range(first, top + 1)
            if not seen[i]
        ]
        checked.add(f"classes in none of the {len(pairs)} masks opened", absent, fault=False)
