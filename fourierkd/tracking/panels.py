"""Panels of W&B that workspace and report share: in flows what a study has, out flow panels.

Runs are told apart by the config keys that every run of ``WandbBackend`` carries (``method``,
``phase``, ``phase_method``, ``parameters.*``) and compared by its rows and its summary
(``best/<metric>``, ``test/<metric>``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fourierkd.tracking.wandb_values import parameter_key

MOST_RUNS = 100  # that W&B draws in one panel


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a dashboard shows.

    Attributes:
        project: of W&B, where the study's runs are.
        entity: W&B user or team; None: the default of who is logged in.
        study: name of the study, and of its runs' group in W&B.
        metric: what its runs are judged by, such as ``mIoU``.
        parameters: tuned parameters that every trial has: axes of parallel coordinates.
        spectra, predictions: names of the pictures that its runs have.
    """

    project: str
    entity: str | None
    study: str
    metric: str
    parameters: Sequence[str] = ()
    spectra: Sequence[str] = ()
    predictions: Sequence[str] = ()

    def of(self, entity: str) -> Shown:
        """The same, of this user or team."""
        return replace(self, entity=entity)


def result_panels(metric: str, *, by: str) -> list[Any]:
    """Bars of the scores on test and val, mean and standard error over the runs of a group.

    Args:
        metric: such as ``mIoU``.
        by: config key that groups runs, for this as for the others.
    """
    import wandb_workspaces.reports.v2 as wr

    titles = {
        f"test/{metric}": f"{metric} on test, mean and standard error over seeds",
        f"best/{metric}": f"{metric} on val, best checkpoint",
    }
    return [
        wr.BarPlot(
            title=title,
            metrics=[name],
            groupby=wr.Config(by),
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            max_runs_to_show=MOST_RUNS,
        )
        for name, title in titles.items()
    ]


def curve_panels(metric: str, *, by: str) -> list[Any]:
    """The metric on val and the loss over training."""
    smooth = {"smoothing_type": "exponential", "smoothing_factor": 0.6}
    return [
        _lines(f"{metric} on val", by, y=[f"val/{metric}"], groupby_rangefunc="stderr"),
        _lines("Training loss", by, y=["train/loss"], groupby_rangefunc="stderr", **smooth),
    ]


def spectra_panels(labels: Sequence[str], *, by: str) -> list[Any]:
    """Pictures of spectra, and what teacher and student have in each band, over training.

    Args:
        labels: of the pictures (a loss, or ``loss.level``); none: nothing is shown.
        by: as of ``result_panels``.
    """
    if not labels:
        return []
    pictures = _pictures("teacher | student | difference", [f"spectra/{name}" for name in labels])
    titles = {
        "Teacher-student gap per band": "spectra/.*/gap_.*",
        "Coherence with the teacher per band (1: equal)": "ledger/.*/coherence_.*",
        "Share error per band (above 0: too much)": "ledger/.*/share_error_.*",
    }
    return [pictures, *(_lines(title, by, metric_regex=n) for title, n in titles.items())]


def class_panels(metric: str, *, by: str) -> list[Any]:
    """The metric of each class over training; empty where it is no mean over classes."""
    return [_lines(f"{metric} of each class on val", by, metric_regex="val_class/.*")]


def prediction_panels(names: Sequence[str]) -> list[Any]:
    """Images with what truth, teacher and student say of them; none without names."""
    keys = [f"predictions/{name}" for name in names]
    return [_pictures("val images, with masks or boxes", keys)] if keys else []


def tuning_panels(metric: str, parameters: Sequence[str]) -> list[Any]:
    """Which parameters gave which score, a line a trial; none without parameters."""
    import wandb_workspaces.reports.v2 as wr

    if not parameters:
        return []
    best = f"best/{metric}"
    axes = [wr.Config(f"parameters.{parameter_key(name)}") for name in parameters]
    columns = [wr.ParallelCoordinatesPlotColumn(axis) for axis in (*axes, wr.SummaryMetric(best))]
    return [
        wr.ParallelCoordinatesPlot(title=f"Parameters and {metric}", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=best),
    ]


def as_json(model: Any) -> dict[str, Any]:
    """What W&B would store of a view, in JSON's types; its random ids are numbered in order of
    appearance, so equal views give equal JSON.
    """
    view = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    text = json.dumps(view)
    ids = dict.fromkeys(re.findall(r'"(?:__id__|id)": "([^"]+)"', text))
    for number, identity in enumerate(ids, start=1):
        text = text.replace(f'"{identity}"', f'"id-{number}"')
    result: dict[str, Any] = json.loads(text)
    return result


def _lines(title: str, by: str, **options: Any) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=title,
        x="iter",
        title_x="iteration",
        groupby=wr.Config(by),
        groupby_aggfunc="mean",
        max_runs_to_show=MOST_RUNS,
        **options,
    )


def _pictures(title: str, keys: Sequence[str]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.MediaBrowser(
        title=title, media_keys=list(keys), mode="grid", grid_x_axis="step", grid_y_axis="run"
    )
