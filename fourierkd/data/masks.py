"""In flow a folder of images and one of masks, out flow ``images/{split}`` and ``masks/{split}``.

The written masks are 8-bit index PNGs as MMSegmentation reads them: 0..K-1 are classes, 255 is
ignored. Images are copied byte for byte. Both folders are built beside their place and renamed
when whole.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourierkd.data.folders import flush, flush_tree
from fourierkd.data.images import StrPath, labelled_size, read_image
from fourierkd.data.label_maps import Colour
from fourierkd.data.left_out import image_suffixes, left_out
from fourierkd.errors import DataError, near

IGNORE = 255
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
Index = NDArray[np.uint8]


def convert_masks(
    images_dir: StrPath,
    masks_dir: StrPath,
    out: StrPath,
    *,
    split: str,
    colours: Mapping[str, Colour] | None = None,
    remap: Mapping[int, int] | None = None,
    ignore: Sequence[str] = (),
    mask_ending: str = "",
) -> dict[str, Any]:
    """Write one split of the index-PNG layout and return what it is.

    Args:
        images_dir, masks_dir: paired by name without suffix.
        out: data root; ``out/images/split`` and ``out/masks/split`` must not hold files yet.
        split: ``train``, ``val``, ``test`` or another plain name.
        colours: class name -> RGB for colour masks, in label order (``read_colours``).
        remap: old index -> new index for index masks (``read_remap``); None keeps the indices.
        ignore: names in ``colours`` that become 255 and take no label.
        mask_ending: what a mask's name has after its image's name, such as ``_L``.

    Returns:
        ``images`` (count), ``img_suffix``, ``classes``, ``palette`` (empty without ``colours``),
        ``pixels`` (label -> count over all masks), ``left_out`` (folder -> counts of images and
        masks that are of another format or in sub-folders).

    Raises:
        DataError: unpaired or unreadable files, sizes that differ, a colour or an index that is not
            in the map (with file, first position and count), a target that holds files.
    """
    if colours is not None and remap is not None:
        raise DataError("masks take a colour map or an index map", value="both", fix="give one")
    if not split or split != Path(split).name or split.startswith("."):
        raise DataError(
            "split must be a plain folder name", value=split, fix="use train, val or test"
        )
    read, classes, palette = _reader(colours, remap, ignore)
    pairs = _pairs(Path(images_dir), Path(masks_dir), mask_ending)
    targets = {kind: Path(out) / kind / split for kind in ("images", "masks")}
    for target in targets.values():
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise DataError(
                "a new split needs a new or empty folder", value=str(target), fix="remove it first"
            )
    Path(out).mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=out, prefix=f".{split}."))
    pixels = np.zeros(256, np.int64)
    try:
        for kind in targets:
            (building / kind).mkdir()
        for image_path, mask_path in pairs:
            index = read(mask_path)
            size = labelled_size(image_path, index.shape[::-1])
            if size != index.shape[::-1]:
                raise DataError(
                    f"a mask must have its image's size, {size[0]}x{size[1]} of {image_path}",
                    value=f"{index.shape[1]}x{index.shape[0]} of {mask_path}",
                    fix="resize one of them (a mask by nearest neighbour)",
                )
            pixels += np.bincount(index.ravel(), minlength=256)
            shutil.copyfile(image_path, building / "images" / image_path.name)
            _save(index, palette, building / "masks" / f"{image_path.stem}.png")
        flush_tree(building)
        for kind, target in reversed(targets.items()):
            target.parent.mkdir(parents=True, exist_ok=True)
            (building / kind).rename(target)
            flush(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return {
        "images": len(pairs),
        "img_suffix": pairs[0][0].suffix,
        "classes": classes,
        "palette": palette,
        "pixels": {int(k): int(pixels[k]) for k in np.flatnonzero(pixels)},
        "left_out": {
            f"{kind} in {folder}": left_out(folder, taken, image_suffixes())
            for kind, folder, taken in (
                ("images", images_dir, [image for image, _ in pairs]),
                ("masks", masks_dir, [mask for _, mask in pairs]),
            )
        },
    }


def _pairs(images_dir: Path, masks_dir: Path, mask_ending: str) -> list[tuple[Path, Path]]:
    """Image and mask paths, sorted by name; every image has one mask and every mask one image."""
    images = _by_stem(images_dir, "")
    masks = _by_stem(masks_dir, mask_ending)
    if images.keys() != masks.keys():
        stem = sorted(images.keys() ^ masks.keys())[0]
        alone, other = (images, "mask") if stem in images else (masks, "image")
        folder, ending = (masks_dir, mask_ending) if other == "mask" else (images_dir, "")
        raise DataError(
            f"every image must have a mask, and every mask an image; no {other} in {folder}",
            value=str(alone[stem]),
            fix=f"add {stem}{ending}.* there, or remove this file",
        )
    suffixes = Counter(path.suffix for path in images.values())
    if len(suffixes) > 1:
        rare = min(suffixes, key=lambda suffix: suffixes[suffix])
        raise DataError(
            "all images must have one suffix, as MMSegmentation reads them by it",
            value=str(next(path for path in images.values() if path.suffix == rare)),
            fix="convert or rename",
        )
    return [(images[stem], masks[stem]) for stem in sorted(images)]


def _by_stem(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError("a folder of images must exist", value=str(folder), fix="check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if not path.stem.endswith(ending):
            raise DataError(
                f"a mask's name must end in {ending!r}", value=str(path), fix="remove it"
            )
        stem = path.stem[: len(path.stem) - len(ending)]
        if stem in found:
            raise DataError(
                f"a name must be there once, whatever its suffix; there is {found[stem].name}",
                value=str(path),
                fix="remove one of them",
            )
        found[stem] = path
    if not found:
        raise DataError(
            f"there must be images to convert ({', '.join(IMAGE_SUFFIXES)})",
            value=str(folder),
            fix="check the path; sub-folders are not looked into",
        )
    return found


def _reader(
    colours: Mapping[str, Colour] | None, remap: Mapping[int, int] | None, ignore: Sequence[str]
) -> tuple[Callable[[Path], Index], list[str], list[Colour]]:
    """The function that reads one mask, the class names and their colours."""
    for name in ignore:
        if name not in (colours or {}):
            raise DataError(
                "an ignored class must be in the colour map",
                value=name,
                fix=near(name, colours or {}),
            )
    if colours is None:
        table = np.full(65536, -1, np.int16)
        pairs = dict(remap) if remap is not None else {index: index for index in range(256)}
        for old, new in pairs.items():
            table[old] = new
        return (lambda path: _translate(_indices(path), table, path, _index_text)), [], []
    classes = [name for name in colours if name not in ignore]
    if len(classes) > IGNORE:
        raise DataError("a mask can hold 255 classes", value=len(classes), fix="ignore some")
    table = np.full(1 << 24, -1, np.int16)
    for name, (red, green, blue) in colours.items():
        table[red << 16 | green << 8 | blue] = IGNORE if name in ignore else classes.index(name)
    palette = [colours[name] for name in classes]
    return (lambda path: _translate(_codes(path), table, path, _colour_text)), classes, palette


def _codes(path: Path) -> NDArray[np.int64]:
    """(H, W): each pixel's colour as one number, red * 65536 + green * 256 + blue."""
    pixels = np.asarray(read_image(path).convert("RGB")).astype(np.int64)
    return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]


def _indices(path: Path) -> NDArray[np.int64]:
    """(H, W): the indices of an index or grey image."""
    picture = read_image(path)
    if picture.mode not in ("1", "L", "P", "I", "I;16"):
        raise DataError(
            f"an index mask must have one channel (its mode is {picture.mode})",
            value=str(path),
            fix="give a colour map for colour masks",
        )
    return np.asarray(picture).astype(np.int64)


def _index_text(value: int) -> str:
    return f"index {value}"


def _colour_text(value: int) -> str:
    return f"colour ({value >> 16}, {value >> 8 & 255}, {value & 255})"


def _translate(
    values: NDArray[np.int64], table: NDArray[np.int16], path: Path, text: Callable[[int], str]
) -> Index:
    """Labels (H, W) of ``values``; DataError says which is not in the map, where and how often."""
    if values.max(initial=0) >= len(table) or values.min(initial=0) < 0:
        raise DataError("an index must be 0 to 65535", value=str(path), fix="check the file")
    labels = table[values]
    unknown = labels < 0
    if unknown.any():
        row, column = np.argwhere(unknown)[0].tolist()
        first = int(values[row, column])
        others = len(np.unique(values[unknown])) - 1
        raise DataError(
            f"{path}: all pixels must be in the map; at x={column}, y={row} and "
            f"{int((values == first).sum())} times in all it is not"
            + (f", nor are {others} other values" if others else ""),
            value=text(first),
            fix="add it to the map"
            + (" (a JPEG or resized mask has lost its exact values)" if others > 16 else ""),
        )
    return labels.astype(np.uint8)


def _save(index: Index, palette: Sequence[Colour], path: Path) -> None:
    picture = Image.fromarray(index)
    if palette:
        colours = [channel for colour in palette for channel in colour]
        padding = [0] * (3 * IGNORE - len(colours))
        picture.putpalette(colours + padding + [255, 255, 255])  # the ignored pixels show white
    picture.save(path, "PNG")
