"""Spectral Shapes on disk: in flows a spec, out flows a whole folder or an error, not half of one.

    images/{train,val,test}/000000.jpg     RGB, quality 95
    masks/{train,val,test}/000000.png      index images with a palette, 0 is background
    annotations/{train,val,test}.json      COCO
    manifest.json                          parameters, classes, palette; bytes and sha256 per file

The folder is built beside its place, flushed to disk and renamed, so a manifest in place means
that the folder was whole once; ``prepare_shapes`` checks that it still is.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourierkd.data.folders import flush, flush_tree
from fourierkd.data.shapes import SPLITS, Sample, ShapesSpec, class_names, draw_sample, palette
from fourierkd.errors import DataError

GENERATOR, VERSION = "spectral_shapes", 1
MANIFEST = "manifest.json"
MARKER = ".spectral_shapes"  # the first file of a build: such a folder may be replaced by us
OURS = re.compile(
    r"manifest\.json|\.spectral_shapes|annotations(/(train|val|test)\.json)?"
    r"|images(/(train|val|test)(/\d{6}\.jpg)?)?|masks(/(train|val|test)(/\d{6}\.png)?)?"
)
_log = logging.getLogger(__name__)
Manifest = dict[str, Any]


def prepare_shapes(
    out: str | os.PathLike[str], spec: ShapesSpec, *, verify: bool = True
) -> Manifest:
    """Make sure that ``out`` holds the images of ``spec``, and return the manifest.

    Returns at once when the folder is whole. A damaged folder, one of other parameters or of
    another version of the generator is rebuilt. Safe in several processes at once: one builds, the
    others wait.

    Args:
        verify: compare checksums too, not only the sizes of the files.

    Raises:
        DataError: ``out`` holds files that are not ours.
    """
    place = Path(out).expanduser().resolve()
    fault = find_fault(place, spec, verify=verify)
    if fault:
        with _lock(place):
            fault = find_fault(
                place, spec, verify=verify
            )  # another process may have built it meanwhile
            if fault:
                _build(place, spec, fault)
    return json.loads((place / MANIFEST).read_text())


def write_shapes(out: str | os.PathLike[str], spec: ShapesSpec) -> Manifest:
    """Build the images of ``spec`` at ``out``, replacing Spectral Shapes that lie there.

    Raises:
        DataError: ``out`` holds files that are not ours.
    """
    place = Path(out).expanduser().resolve()
    with _lock(place):
        _build(place, spec)
    return json.loads((place / MANIFEST).read_text())


def find_fault(place: Path, spec: ShapesSpec, *, verify: bool = True) -> str:
    """What keeps ``place`` from being the whole folder of ``spec``, in words; empty when whole."""
    try:
        manifest = json.loads((place / MANIFEST).read_text())
        files = dict(manifest["files"])
    except OSError:
        return "has no manifest"
    except (ValueError, KeyError, TypeError):
        return "its manifest is damaged"
    if (manifest.get("generator"), manifest.get("version")) != (GENERATOR, VERSION):
        return "was made by another generator or version"
    if manifest.get("parameters") != _parameters(spec):
        return "was made with other parameters"
    expected = file_names(spec)
    present = {
        path.relative_to(place).as_posix() for path in place.glob("[!.]*/**/*") if path.is_file()
    }
    for name in sorted(present.symmetric_difference(expected)):
        return f"{name} is {'missing' if name in expected else 'not part of it'}"
    if files.keys() != expected:
        return "its manifest is damaged"
    for name, facts in files.items():
        try:
            damaged = (place / name).stat().st_size != facts["bytes"] or (
                verify and _sha256((place / name).read_bytes()) != facts["sha256"]
            )
        except OSError:
            return f"{name} cannot be read"
        except (KeyError, TypeError):
            return "its manifest is damaged"
        if damaged:
            return f"{name} is damaged"
    return ""


def file_names(spec: ShapesSpec) -> set[str]:
    """Names of all files of ``spec`` relative to its folder, without the manifest."""
    names = {f"annotations/{split}.json" for split in SPLITS}
    for split in SPLITS:
        for index in range(spec.split_size(split)):
            names |= {f"images/{split}/{index:06d}.jpg", f"masks/{split}/{index:06d}.png"}
    return names


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parameters(spec: ShapesSpec) -> dict[str, Any]:
    """The spec as JSON gives it back (tuples become lists)."""
    parameters: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return parameters


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        file = open(place.parent / f".{place.name}.lock", "w")  # noqa: SIM115 - closed below
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            "a data root must lie in a folder", value=str(place), fix="choose another --out"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_foreign(place: Path) -> None:
    """DataError unless ``place`` is missing, empty, or holds Spectral Shapes and nothing else."""
    if not place.exists():
        return
    inside = sorted(place.rglob("*")) if place.is_dir() else [place]
    foreign = [path for path in inside if not OURS.fullmatch(path.relative_to(place).as_posix())]
    proof = (place / MARKER).exists() or _made_by_us(place / MANIFEST)
    if foreign or (inside and not proof):
        raise DataError(
            "Spectral Shapes go to a new or empty folder, or over older Spectral Shapes alone",
            value=str(place),
            fix=f"choose another folder, or move {(foreign or inside)[0]} away",
        )


def _made_by_us(manifest: Path) -> bool:
    try:
        return bool(json.loads(manifest.read_text())["generator"] == GENERATOR)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(place: Path, spec: ShapesSpec, fault: str = "") -> None:
    """Build beside ``place``, flush, then swap. The caller holds the lock."""
    _refuse_foreign(place)
    if fault and place.exists() and any(place.iterdir()):
        _log.warning("%s: %s; building it again", place, fault)
    building = place.parent / f".{place.name}.building"
    old = place.parent / f".{place.name}.old"
    for leftover in (building, old):
        _refuse_foreign(leftover)
        shutil.rmtree(leftover, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        (building / MARKER).write_bytes(b"")
        files = {}
        for name, data in _contents(spec):
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            files[name] = {"bytes": len(data), "sha256": _sha256(data)}
        manifest = {
            "generator": GENERATOR,
            "version": VERSION,
            "parameters": _parameters(spec),
            "classes": class_names(spec),
            "palette": palette(spec),
            "files": files,
        }
        (building / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        flush_tree(building)
        if place.exists():
            place.rename(old)
        building.rename(place)
        flush(place.parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _contents(spec: ShapesSpec) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file but the manifest."""
    colours = [channel for colour in palette(spec) for channel in colour]
    categories = [
        {"id": label, "name": name, "supercategory": name.split("_")[0]}
        for label, name in enumerate(class_names(spec))
        if label > 0
    ]
    for split in SPLITS:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(spec.split_size(split)):
            sample = draw_sample(spec, split, index)
            name = f"{index:06d}"
            yield f"images/{split}/{name}.jpg", _jpeg(sample.image)
            yield f"masks/{split}/{name}.png", _index_png(sample.labels, colours)
            height, width = sample.labels.shape
            images.append(
                {"id": index, "file_name": f"{name}.jpg", "height": height, "width": width}
            )
            for annotation in coco_annotations(sample, spec.min_visible):
                annotations.append({"id": len(annotations) + 1, "image_id": index, **annotation})
        info = {"description": f"Spectral Shapes, {split} split", "version": str(VERSION)}
        coco = {
            "info": info,
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        yield f"annotations/{split}.json", (json.dumps(coco) + "\n").encode()


def coco_annotations(sample: Sample, min_visible: float) -> Iterator[dict[str, Any]]:
    """COCO fields of each object of which at least ``min_visible`` is in sight.

    The box (x, y, width, height in pixels), the area and the segmentation (uncompressed run
    lengths) are those of the visible part.
    """
    objects = zip(sample.object_labels, sample.object_areas, strict=True)
    for index, (label, full) in enumerate(objects):
        visible = sample.owner == index + 1
        area = int(visible.sum())
        if area == 0 or area < min_visible * full:
            continue
        columns, rows = np.flatnonzero(visible.any(0)), np.flatnonzero(visible.any(1))
        left, top = int(columns[0]), int(rows[0])
        yield {
            "category_id": label,
            "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
            "area": area,
            "iscrowd": 0,
            "segmentation": {"size": list(visible.shape), "counts": run_lengths(visible)},
        }


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths of a mask (H, W): column by column, the first run is of zeros."""
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _index_png(labels: NDArray[np.uint8], colours: list[int]) -> bytes:
    picture = Image.fromarray(labels)
    picture.putpalette(colours)  # makes it an index image
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
