"""Spectra of a report: runs flow in; a part of the page for each loss and level flows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from fourierkd.analysis import figures
from fourierkd.analysis.curves import mean_curves, scalar_curves
from fourierkd.analysis.figures import Style
from fourierkd.analysis.page import figure_html, inlined
from fourierkd.analysis.spectra import Spectrum, last_spectra
from fourierkd.analysis.text_tables import Cell
from fourierkd.errors import DataError
from fourierkd.records import State
from fourierkd.run_dir import RunDir

NOTE = (
    "Frequencies are fractions of the Nyquist frequency of the layer's own map. Radial power: the "
    "mean of |F|² in rings of equal width; dotted lines are the edges of the bands. Gap of a band: "
    "(E_T - E_S) / (E_T + E_S) of the energies of teacher and student; 0, equal energy, is best; "
    "above 0 the student lacks energy there, at 1 it has none, below 0 it has more than the "
    "teacher. Profiles and pictures: newest validation with spectra, lowest seed of each method; "
    "gap: mean over the seeds and over the levels of a loss"
)


def spectra_parts(
    shown: pd.DataFrame, work_dir: Path, palette: Mapping[str, Style]
) -> list[dict[str, Any]]:
    """One part per loss and level: radial profiles, gap per band over time, pictures per method.

    Args:
        shown: rows of a results table, one label a method in ``method``.
        work_dir: what a relative ``run_dir`` is relative to.
        palette: method -> style; gives the order too.

    Returns:
        ``name, captions, profile, gap, pictures, problems`` of each.
    """
    found = _last_spectra(shown, work_dir, palette)
    parts = [_part(i, found[name], palette, name) for i, name in enumerate(found)]
    gaps = scalar_curves(shown, work_dir, prefix="spectra/")
    for i, (loss, own) in enumerate(gaps.groupby(gaps["name"].str.split("/").str[1], sort=False)):
        figure = figures.gap_figure(mean_curves(own), palette=palette)
        label = f"gap of {loss} between teacher and student in each band over training"
        gap = figure_html(figure, f"gap-{i}", label)
        same = [p for p in parts if p["name"] == loss or p["name"].startswith(f"{loss}_")]
        if same:
            same[0]["gap"] = gap
        else:
            empty = {"captions": [], "profile": Markup(), "pictures": [], "problems": []}
            parts.append({"name": loss, "gap": gap, **empty})
    return parts


def profiles(
    shown: pd.DataFrame, work_dir: Path, methods: Iterable[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Loss and level -> method -> arrays of its newest spectrum; damaged ones are left out."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, by_method in _last_spectra(shown, work_dir, methods).items():
        arrays = _arrays(by_method)[0]
        if arrays:
            found[name] = arrays
    return found


def _last_spectra(
    shown: pd.DataFrame, work_dir: Path, methods: Iterable[str]
) -> dict[str, dict[str, tuple[Any, Spectrum]]]:
    """Loss and level -> method -> (seed, spectrum) of the method's first run that has any."""
    found: dict[str, dict[str, tuple[Any, Spectrum]]] = {}
    for method in methods:
        own = shown[(shown["method"] == method) & (shown["state"] != State.FAILED)]
        for run in own.sort_values("seed").to_dict("records"):
            spectra = last_spectra(RunDir(work_dir / run["run_dir"]))
            for spectrum in spectra:
                found.setdefault(spectrum.name, {})[method] = (run["seed"], spectrum)
            if spectra:
                break
    return found


def _arrays(
    by_method: Mapping[str, tuple[Any, Spectrum]],
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Method -> arrays, and what could not be read."""
    arrays: dict[str, dict[str, Any]] = {}
    problems = []
    for method, (_, spectrum) in by_method.items():
        try:
            if spectrum.npz is not None:
                arrays[method] = spectrum.arrays()
        except DataError as error:
            problems.append(f"{method}: {error}")
    return arrays, problems


def _part(
    number: int,
    by_method: Mapping[str, tuple[Any, Spectrum]],
    palette: Mapping[str, Style],
    name: str,
) -> dict[str, Any]:
    """Profile and pictures of one loss and level; arrays that cannot be read are problems."""
    arrays, problems = _arrays(by_method)
    captions: dict[str, list[str]] = {}
    for method, own in arrays.items():
        if "caption" in own:
            captions.setdefault(str(own["caption"]), []).append(method)
    profile = Markup()
    if arrays:
        figure = figures.profile_figure(arrays, palette=palette)
        label = f"radial power of {name} over frequency: teacher, and student of each method"
        profile = figure_html(figure, f"profile-{number}", label)
    pictures = [
        {
            "method": Cell(method, style=palette[method]),
            "caption": f"seed {seed}, iteration {spectrum.iteration}",
            "data": inlined(spectrum.png),
        }
        for method, (seed, spectrum) in by_method.items()
        if spectrum.png is not None
    ]
    return {
        "name": name,
        "captions": [f"{', '.join(methods)}: {text}" for text, methods in captions.items()],
        "profile": profile,
        "gap": Markup(),
        "pictures": pictures,
        "problems": problems,
    }
