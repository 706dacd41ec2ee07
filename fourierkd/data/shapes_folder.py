"""Spectral Shapes on disk: in flows a spec, out flows a whole folder or an error, not half of one.

The folder holds what ``shapes_files`` makes and ``manifest.json``: parameters, classes, palette;
bytes and sha256 per file.

It is built beside its place, flushed to disk and renamed, so a manifest in place means that the
folder was whole once; ``prepare_shapes`` checks that it still is. Data of other parameters are
replaced only where that is asked for, and never while a run reads them (``in_use``).
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fourierkd.data.folders import flush, flush_tree
from fourierkd.data.in_use import readers, registered
from fourierkd.data.shapes import ShapesSpec, class_names, palette
from fourierkd.data.shapes_files import GENERATOR, VERSION, contents, file_names
from fourierkd.errors import DataError, listed
from fourierkd.fingerprint import file_sha256, sha256
from fourierkd.locks import locked

MANIFEST = "manifest.json"
OTHER_PARAMETERS = "was made with other parameters"
MARKER = ".spectral_shapes"  # the first file of a build: such a folder may be replaced by us
OURS = re.compile(
    r"manifest\.json|\.spectral_shapes|annotations(/(train|val|test)\.json)?"
    r"|images(/(train|val|test)(/\d{6}\.jpg)?)?|masks(/(train|val|test)(/\d{6}\.png)?)?"
)
_log = logging.getLogger(__name__)
Manifest = dict[str, Any]


def prepare_shapes(
    out: str | os.PathLike[str], spec: ShapesSpec, *, verify: bool = True, force: bool = False
) -> Manifest:
    """Make sure that ``out`` holds the images of ``spec``, and return the manifest.

    Returns at once when the folder is whole. A damaged folder, or one of another version of the
    generator, is rebuilt. Safe in several processes at once: one builds, the others wait.

    Args:
        verify: compare checksums too, not only the sizes of the files.
        force: replace Spectral Shapes of other parameters.

    Raises:
        DataError: ``out`` holds files that are not ours, or data of other parameters without
            ``force``; or it has to be rebuilt while a run reads it.
    """
    place = Path(os.path.expanduser(out)).resolve()
    if find_fault(place, spec, verify=verify):
        with _lock(place):
            _make_whole(place, spec, verify=verify, force=force)
    return _manifest(place)


@contextmanager
def reading_shapes(
    out: str | os.PathLike[str], spec: ShapesSpec, *, reader: str
) -> Iterator[Manifest]:
    """``prepare_shapes`` without ``force``; within, nobody replaces the folder.

    A folder in a place where this user may write nothing is used without a lock.

    Args:
        reader: by which others are told whom to wait for, such as a run's folder.

    Raises:
        DataError: as ``prepare_shapes``.
    """
    place = Path(os.path.expanduser(out)).resolve()
    if place.exists() and not os.access(place.parent, os.W_OK):
        yield prepare_shapes(place, spec)
        return
    with ExitStack() as held:
        with _lock(place):
            _make_whole(place, spec)
            held.enter_context(registered(place, reader))
        yield _manifest(place)


def _make_whole(place: Path, spec: ShapesSpec, *, verify: bool = True, force: bool = False) -> None:
    """Build what ``find_fault`` finds wrong, where that is allowed. The caller holds the lock."""
    fault = find_fault(place, spec, verify=verify)  # another process may have built it meanwhile
    if not fault:
        return
    if fault == OTHER_PARAMETERS and not force:
        raise DataError(
            f"a data folder keeps its parameters ({_differences(place, spec)})",
            value=str(place),
            fix="choose another folder, or replace it by `fourierkd data shapes` with --force",
        )
    _build(place, spec, fault)


def _differences(place: Path, spec: ShapesSpec) -> str:
    """``size is 400, not 60, ...``: parameters that ``spec`` has otherwise, the first three."""
    there, here = _manifest(place)["parameters"], _parameters(spec)
    names = [name for name in here | there if there.get(name) != here.get(name)]
    words = [f"{name} is {there.get(name)}, not {here.get(name)}" for name in names]
    return listed(words, 3)


def _manifest(place: Path) -> Manifest:
    manifest: Manifest = json.loads((place / MANIFEST).read_text())
    return manifest


def find_fault(place: Path, spec: ShapesSpec, *, verify: bool = True) -> str:
    """What keeps ``place`` from being the whole folder of ``spec``, in words; empty when whole."""
    try:
        manifest = json.loads((place / MANIFEST).read_text())
        files, parameters = dict(manifest["files"]), dict(manifest["parameters"])
    except OSError:
        return "has no manifest"
    except (ValueError, KeyError, TypeError):
        return "its manifest is damaged"
    if parameters != _parameters(spec):
        return OTHER_PARAMETERS
    if (manifest.get("generator"), manifest.get("version")) != (GENERATOR, VERSION):
        return "was made by another generator or version"
    expected = file_names(spec)
    present = {
        path.relative_to(place).as_posix() for path in place.glob("[!.]*/**/*") if path.is_file()
    }
    for name in sorted(present.symmetric_difference(expected)):
        return f"{name} is {'missing' if name in expected else 'not part of it'}"
    if files.keys() != expected:
        return "its manifest is damaged"
    faults = (_fault_of(place, name, facts, verify=verify) for name, facts in files.items())
    return next(filter(None, faults), "")


def _fault_of(place: Path, name: str, facts: Mapping[str, Any], *, verify: bool) -> str:
    """What keeps a file from being what the manifest says of it; empty where nothing does."""
    try:
        damaged = (place / name).stat().st_size != facts["bytes"] or (
            verify and file_sha256(place / name) != facts["sha256"]
        )
    except OSError:
        return f"{name} cannot be read"
    except (KeyError, TypeError):
        return "its manifest is damaged"
    return f"{name} is damaged" if damaged else ""


def _parameters(spec: ShapesSpec) -> dict[str, Any]:
    """The spec as JSON gives it back (tuples become lists)."""
    parameters: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return parameters


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """Hold the folder for a look at it or a build; others wait."""
    with ExitStack() as held:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(place.parent / f".{place.name}.lock", wait=True))
        except (FileExistsError, FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                "a data root must lie in a folder", value=str(place), fix="choose another --out"
            ) from error
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
    if live := readers(place):
        raise DataError(
            f"data are not replaced while they are read ({fault or 'written anew'})",
            value=str(place),
            fix=f"choose another folder, or wait for {', '.join(sorted(live))}",
        )
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
        for name, data in contents(spec):
            path = building / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            files[name] = {"bytes": len(data), "sha256": sha256(data)}
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
