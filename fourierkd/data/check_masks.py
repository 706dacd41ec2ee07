"""Index masks: in flows a data set with masks, out flow findings about files and values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourierkd.data import cityscapes
from fourierkd.data.check_names import repeated
from fourierkd.data.check_pictures import check_pictures
from fourierkd.data.findings import Checked, Data, Depth, real, sample, subset
from fourierkd.data.images import read_image
from fourierkd.errors import DataError

IGNORE = 255
Place = tuple[Path, str]  # a folder and the suffix of its files
Pair = tuple[Path, Path]  # an image and its mask
INDEX_MODES = ("1", "L", "P", "I", "I;16")


def check_masks(data: Data, checked: Checked, depth: Depth) -> None:
    """Look for every image and its mask, open some as ``depth`` says."""
    listed = data.config.get("listed")
    pairs = _listed(listed, checked) if listed else _in_folders(data, checked, depth)
    checked.images = len(pairs)
    checked.labels = None if data.classes is None else list(data.classes)
    checked.files = frozenset(real(image) for image, _ in pairs)
    checked.entries = frozenset(real(mask) for _, mask in pairs)
    if depth.files:
        pairs = [pair for pair in pairs if all(path.is_file() for path in pair)]
    lost = check_pictures(pairs, data, checked, depth)
    if data.own_labels:
        what = "masks that a step of one's own loads: their values are not looked at"
        checked.add(what, [mask for _, mask in pairs], fault=False)
        return
    _check_values([mask for image, mask in pairs if image not in lost], data, checked, depth)


def _listed(pairs: Sequence[Pair], checked: Checked) -> list[Pair]:
    """The pairs that a data set's class lists in a way of its own."""
    missing = [path for pair in pairs for path in pair if not path.is_file()]
    checked.add("a listed image or mask must exist", missing, fix="see data_root and data_prefix")
    return [(i.parent.resolve() / i.name, m.parent.resolve() / m.name) for i, m in pairs]


def _in_folders(data: Data, checked: Checked, depth: Depth) -> list[Pair]:
    """The pairs of equal names in two folders, as MMSegmentation's own class finds them."""
    img_suffix = str(data.config.get("img_suffix") or ".jpg")
    seg_suffix = str(data.config.get("seg_map_suffix") or ".png")
    image_dir = data.path(data.prefix.get("img_path", "")).resolve()
    mask_dir = data.path(data.prefix["seg_map_path"]).resolve()
    names = _names(data, checked, image_dir, img_suffix)
    checked.add(
        f"images *{img_suffix} must be in the folder",
        [] if names else [image_dir],
        fix="see data_root, data_prefix and img_suffix",
    )
    if depth.files:
        _check_files(names, (image_dir, img_suffix), (mask_dir, seg_suffix), data, checked)
    used = subset(names, data.config.get("indices"))
    return [(image_dir / (name + img_suffix), mask_dir / (name + seg_suffix)) for name in used]


def _names(data: Data, checked: Checked, folder: Path, suffix: str) -> list[str]:
    """Names of the images under ``folder`` without the suffix, as MMSegmentation finds them."""
    if data.ann_file is None:
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob(f"*{suffix}"))
        return [name.removesuffix(suffix) for name in found]
    path = data.path(data.ann_file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        checked.add(f"ann_file must be readable ({reason})", [path])
        return []
    checked.add(
        "a line of ann_file must name an image: MMSegmentation takes an empty one for a name",
        [f"line {i} of {path}" for i, line in enumerate(lines, 1) if not line.strip()],
        fix="remove it",
        refused=True,
    )
    names = [line.strip() for line in lines if line.strip()]
    trained = "train" in checked.splits  # there it may be a weight
    checked.add("images that ann_file names twice", repeated(names), fault=not trained)
    return names


def _check_files(
    names: list[str], images: Place, masks: Place, data: Data, checked: Checked
) -> None:
    """Every image has a mask, and what lies in the folders beside them."""
    (image_dir, img_suffix), (mask_dir, seg_suffix) = images, masks
    lost = [path for n in names if not (path := image_dir / (n + img_suffix)).is_file()]
    checked.add("an image of ann_file must exist", lost)
    missing = [path for n in names if not (path := mask_dir / (n + seg_suffix)).is_file()]
    raw = seg_suffix == cityscapes.TARGET and any(mask_dir.rglob(f"*{cityscapes.SOURCE}"))
    checked.add(
        "an image must have a mask",
        missing,
        fix=f"run: fourierkd data cityscapes {data.root}" if raw else "see seg_map_suffix",
    )
    found = {str(p.relative_to(mask_dir)) for p in mask_dir.rglob(f"*{seg_suffix}")}
    alone = sorted(found - {name + seg_suffix for name in names})
    checked.add("masks without an image", alone, fault=False)
    if data.ann_file is None and image_dir != mask_dir:
        others = [
            path
            for path in sorted(image_dir.rglob("*"))
            if path.suffix.lower() in Image.registered_extensions()
            and not path.name.endswith((img_suffix, seg_suffix))
        ]
        checked.add(f"images that are no *{img_suffix}, left out", others, fault=False)


def _check_values(masks: Sequence[Path], data: Data, checked: Checked, depth: Depth) -> None:
    """Values of a sample, and of more masks while there are fewer than two labels in them."""
    shifted = bool(data.config.get("reduce_zero_label"))
    top = IGNORE if data.known is None else len(data.known) - (0 if shifted else 1)
    table, seen = _labels_of(data, shifted), np.zeros(256, bool)
    unreadable: list[str] = []
    coloured: list[str] = []
    wrong: list[str] = []
    chosen = sample(len(masks), max(depth.pixels, 1))
    order = [*chosen, *sorted(set(range(len(masks))) - set(chosen))]
    looked = 0
    for path in (masks[i] for i in order):
        if looked >= len(chosen) and (coloured or wrong or len(_labels(seen, table)) > 1):
            break
        looked += 1
        try:
            mask = read_image(path)
        except DataError as error:
            unreadable.append(f"{path}: {error.rule}")
            continue
        if mask.mode not in INDEX_MODES:
            coloured.append(f"{path}: mode {mask.mode}")
            continue
        values = np.unique(np.asarray(mask)).astype(int)
        seen[values[(values >= 0) & (values <= IGNORE)]] = True
        beyond = values[((values < 0) | (values > top)) & (values != IGNORE)]
        if beyond.size:
            wrong.append(f"{path}: {', '.join(map(str, beyond[:5].tolist()))}")
    checked.looked.append(f"the values of {looked} masks")
    checked.add("a mask must be readable", unreadable, fix="restore the file")
    checked.add(
        "a mask must hold indices, not colours",
        coloured,
        fix="convert: fourierkd data masks",
        refused=True,
    )
    checked.add(
        f"mask values must be 0 to {top} or {IGNORE}",
        wrong,
        fix="convert: fourierkd data masks --remap, or correct metainfo's classes",
        refused=True,
    )
    if masks and not unreadable and not coloured and not wrong:
        _check_labels(seen, table, looked, data, checked)


def _labels(seen: NDArray[Any], table: NDArray[Any]) -> set[int]:
    """Labels of the values ``seen``, without the ignored one."""
    return set(table[seen].tolist()) - {IGNORE}


def _labels_of(data: Data, shifted: bool) -> NDArray[Any]:
    """Label of each value 0 to 255, as MMSegmentation maps them: IGNORE where it is ignored."""
    table = np.arange(256)
    if shifted:
        table = np.array([IGNORE, *range(IGNORE - 1), IGNORE])
    if data.known and data.classes and list(data.known) != list(data.classes):
        chosen = [
            data.classes.index(name) if name in data.classes else IGNORE for name in data.known
        ]
        table = np.array([chosen[label] if label < len(chosen) else label for label in table])
    return table


def _check_labels(
    seen: NDArray[Any], table: NDArray[Any], looked: int, data: Data, checked: Checked
) -> None:
    """Which labels the masks hold."""
    labels = _labels(seen, table)
    if len(labels) < 2:
        values = ", ".join(map(str, np.flatnonzero(seen).tolist()))
        checked.add(
            f"masks must hold two labels at least beside {IGNORE}, which is ignored: of one label "
            "any prediction of it is right",
            [f"{looked} masks hold the values {values}"],
            fix="masks of 0 and 255: fourierkd data masks --remap, with lines 0,0 and 255,1",
            refused=True,
        )
    elif data.classes is not None:
        absent = [name for i, name in enumerate(data.classes) if i not in labels]
        checked.add(f"classes in none of the {looked} masks opened", absent, fault=False)
