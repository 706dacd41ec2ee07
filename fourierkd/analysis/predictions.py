"""Predictions in the report: runs with pictures flow in, the same images by method flow out.

The panels are cut out of the runs' own pictures and made small, since the report is one file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fourierkd.records import State
from fourierkd.run_dir import Row, RunDir

LARGEST = 224  # px of a panel's longer side
FLAT = 256  # colours up to which a panel is kept without loss
QUALITY = 80
FIXED = "fixed"
INPUT, TRUTH, TEACHER, STUDENT = "input", "truth", "teacher", "student"
BESIDE = (INPUT, TRUTH, TEACHER)


def predictions(shown: pd.DataFrame, work_dir: Path, palette: Mapping[str, str]) -> dict[str, Any]:
    """What the page's section shows; empty where no run has pictures of predictions.

    Args:
        shown: the runs of the report, of the results table.
        work_dir: what their ``run_dir`` is relative to.
        palette: method -> colour, in the order of the methods.

    Returns:
        ``seed``, ``largest`` (px of a panel), ``explained`` (the score), ``methods`` (name and
        colour), ``legend`` (class, name, colour), ``images``: of each fixed image its name, its
        panels ``beside`` (input, truth, the teacher where a run has one), and ``students``, one a
        method or None; and ``extremes``: of each method the panels of its worst and best image.
    """
    seed, runs = _of_one_seed(shown, work_dir, palette)
    if not runs:
        return {}
    rows = {method: _drawn(run) for method, run in runs.items()}
    every = [row for own in rows.values() for row in own]
    legend = {label: (name, colour) for row in every for label, name, colour in row["legend"]}
    images = dict.fromkeys(row["image"] for row in every if row["rule"] == FIXED)
    return {
        "seed": seed,
        "largest": LARGEST,
        "explained": every[0]["explained"],
        "methods": [{"name": method, "colour": palette[method]} for method in runs],
        "legend": [(label, *legend[label]) for label in sorted(legend)],
        "images": [_image(image, runs, rows) for image in images],
        "extremes": [_extremes(runs[method], rows[method]) for method in runs],
    }


def _of_one_seed(
    shown: pd.DataFrame, work_dir: Path, methods: Iterable[str]
) -> tuple[Any, dict[str, RunDir]]:
    """The seed at which most methods have pictures (the lowest of such), and their runs."""
    by_seed: dict[Any, dict[str, RunDir]] = {}
    for method in methods:
        own = shown[(shown["method"] == method) & (shown["state"] == State.COMPLETE)]
        for known in own.sort_values("seed").to_dict("records"):
            run = RunDir(work_dir / known["run_dir"])
            if _drawn(run):
                by_seed.setdefault(known["seed"], {})[method] = run
    if not by_seed:
        return None, {}
    most = max(len(runs) for runs in by_seed.values())
    seed = min(seed for seed, runs in by_seed.items() if len(runs) == most)
    return seed, by_seed[seed]


def _drawn(run: RunDir) -> list[Row]:
    """What a run says of its pictures, of those that are still there."""
    return [r for r in run.prediction_rows() if run.prediction_picture(r["name"]).exists()]


def _image(
    image: str, runs: Mapping[str, RunDir], rows: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    """One fixed image: what is the same for all methods, and each method's student."""
    of_method = {
        method: row
        for method, own in rows.items()
        for row in own
        if row["rule"] == FIXED and row["image"] == image
    }
    beside: dict[str, dict[str, str]] = {}
    for method, row in of_method.items():
        new = [name for name in BESIDE if name in row["panels"] and name not in beside]
        beside |= _panels(runs[method], row, new)
    return {
        "image": image,
        "beside": [beside[name] for name in BESIDE if name in beside],
        "students": [
            _panels(run, of_method[method], [STUDENT])[STUDENT] if method in of_method else None
            for method, run in runs.items()
        ],
    }


def _extremes(run: RunDir, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The worst and the best image of one run, all panels of each."""
    return [
        {
            "rule": row["rule"],
            "image": row["image"],
            "panels": list(_panels(run, row, [*BESIDE, STUDENT]).values()),
        }
        for row in rows
        if row["rule"] != FIXED
    ]


def _panels(run: RunDir, row: Row, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Name -> name, note and data address of a panel of a picture."""
    from PIL import Image

    scores = {STUDENT: row["score"], TEACHER: row["teacher_score"]}
    found = {}
    with Image.open(run.prediction_picture(row["name"])) as picture:
        for name in names:
            if name not in row["panels"]:
                continue
            x, y, width, height = row["panels"][name]
            panel = picture.convert("RGB").crop((x, y, x + width, y + height))
            panel.thumbnail((LARGEST, LARGEST))
            score = scores.get(name)
            note = "" if score is None else f"{row['measure']} {score:.{row['digits']}f}"
            found[name] = {"name": name, "note": note, "data": _inlined(panel)}
    return found


def _inlined(panel: Any) -> str:
    """As WebP: without loss where it has few colours, as maps of labels do."""
    buffer = io.BytesIO()
    flat = panel.getcolors(FLAT) is not None
    panel.save(buffer, "WEBP", lossless=flat, quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
