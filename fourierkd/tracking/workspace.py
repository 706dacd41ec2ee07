"""The W&B workspace of a study as code: in flow project, metric, study, out flows JSON or a view.

Runs are compared by the config keys every run of ``WandbBackend`` carries (``method``, ``phase``,
``study``, ``seed``, ``parameters.*``) and by its summary (``best/<metric>``, ``test/<metric>``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from fourierkd.errors import ConfigError, one_line
from fourierkd.tracking.login import logged_in
from fourierkd.tracking.prediction_pictures import BEST, FIXED_IMAGES, WORST
from fourierkd.tracking.wandb_values import parameter_key

RUN_COLUMNS = ("method", "phase", "seed", "trial")


def workspace_json(
    project: str,
    entity: str | None,
    metric: str,
    study: str | None = None,
    *,
    parameters: Sequence[str],
    losses: Sequence[str],
) -> dict[str, Any]:
    """The view W&B would store, made without network or account; equal input gives equal JSON.

    Args:
        project: W&B project.
        entity: W&B user or team; None leaves it open.
        metric: The study's metric, such as ``mIoU``.
        study: Only runs of this W&B group; None shows all runs of the project.
        parameters: Names of tuned parameters: axes of the parallel coordinates beside the metric.
        losses: Names of the losses whose spectra are shown.

    Returns:
        JSON types only; the random ids of panels are numbered in order of appearance.
    """
    workspace = _workspace(project, entity or "", metric, study, parameters, losses)
    view = workspace._to_model().model_dump(by_alias=True, exclude_none=True, mode="json")
    return _number_ids(view)


def save_workspace(
    project: str,
    entity: str | None,
    metric: str,
    study: str | None = None,
    *,
    parameters: Sequence[str],
    losses: Sequence[str],
) -> str:
    """Save the workspace to W&B as a new view.

    Args:
        project: As in ``workspace_json``, as all others.
        entity: None is the default entity of who is logged in.

    Returns:
        Address of the view.

    Raises:
        ConfigError: nobody is logged in, or the server refused.
    """
    if not logged_in():
        raise ConfigError(
            "saving a W&B workspace needs a login", fix="run `wandb login`, or use --dry-run"
        )
    import wandb

    try:
        entity = entity or wandb.Api().default_entity or ""
        workspace = _workspace(project, entity, metric, study, parameters, losses)
        return str(workspace.save().url)
    except Exception as error:
        raise ConfigError(
            f"W&B did not take the workspace ({one_line(error)})",
            value=f"{entity}/{project}",
            fix="check the entity and project, or use --dry-run",
        ) from error


def _workspace(
    project: str,
    entity: str,
    metric: str,
    study: str | None,
    parameters: Sequence[str],
    losses: Sequence[str],
) -> Any:
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    method = wr.Config("method")
    best, test = f"best/{metric}", f"test/{metric}"

    def curve(title: str, y: str, **options: Any) -> Any:
        return wr.LinePlot(
            title=title,
            x="iter",
            y=[y],
            title_x="iteration",
            groupby=method,
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            max_runs_to_show=100,
            **options,
        )

    def bars(title: str, name: str) -> Any:
        return wr.BarPlot(
            title=title,
            metrics=[name],
            groupby=method,
            groupby_aggfunc="mean",
            groupby_rangefunc="stderr",
            max_runs_to_show=100,
        )

    keys = [wr.Config(f"parameters.{parameter_key(name)}") for name in parameters]
    axes = [*keys, wr.SummaryMetric(best)]
    spectra = wr.MediaBrowser(
        title="teacher | student | difference",
        media_keys=[f"spectra/{loss}" for loss in losses],
        mode="grid",
        grid_x_axis="step",
        grid_y_axis="run",
    )
    predictions = wr.MediaBrowser(
        title="val images, with masks or boxes",
        media_keys=[f"predictions/{name}" for name in (*range(1, FIXED_IMAGES + 1), WORST, BEST)],
        mode="grid",
        grid_x_axis="step",
        grid_y_axis="run",
    )

    def lines(title: str, names: str) -> Any:
        return wr.LinePlot(
            title=title,
            x="iter",
            metric_regex=names,
            title_x="iteration",
            groupby=method,
            groupby_aggfunc="mean",
        )

    sections = [
        ws.Section(
            name="Result",
            panels=[
                bars(f"{metric} on test, mean and standard error over seeds", test),
                bars(f"{metric} on val, best checkpoint", best),
            ],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=1),
        ),
        ws.Section(
            name="Learning curves",
            panels=[
                curve(f"{metric} on val", f"val/{metric}"),
                curve(
                    "Training loss",
                    "train/loss",
                    smoothing_type="exponential",
                    smoothing_factor=0.6,
                ),
            ],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=1),
        ),
        ws.Section(
            name="Spectra",
            panels=[
                spectra,
                lines("Teacher-student gap per band", "spectra/.*/gap_.*"),
                lines("Coherence with the teacher per band (1: equal)", "ledger/.*/coherence_.*"),
                lines("Share error per band (above 0: too much)", "ledger/.*/share_error_.*"),
            ],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=2),
        ),
        ws.Section(
            name="Classes and predictions",
            panels=[lines(f"{metric} of each class on val", "val_class/.*"), predictions],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=1),
        ),
        ws.Section(
            name="What was tuned",
            panels=[
                wr.ParallelCoordinatesPlot(
                    title=f"Parameters and {metric}",
                    columns=[wr.ParallelCoordinatesPlotColumn(axis) for axis in axes],
                ),
                wr.ParameterImportancePlot(with_respect_to=best),
            ],
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=1),
        ),
        ws.Section(
            name="Runs side by side", panels=[wr.RunComparer(diff_only=True)], is_open=False
        ),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"fourierkd {study}" if study else "fourierkd",
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis="iter", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=[ws.Metric("Group") == study] if study else [],
            order=[ws.Ordering(ws.Summary(test), ascending=False)],
            pinned_columns=[
                "run:displayName",
                *(f"config:{name}.value" for name in RUN_COLUMNS),
                f"summary:{test}",
                f"summary:{best}",
            ],
        ),
    )


def _number_ids(view: dict[str, Any]) -> dict[str, Any]:
    """Replace each random id by its number, in order of appearance."""
    text = json.dumps(view)
    ids = dict.fromkeys(re.findall(r'"(?:__id__|id)": "([^"]+)"', text))
    for number, identity in enumerate(ids, start=1):
        text = text.replace(f'"{identity}"', f'"id-{number}"')
    result: dict[str, Any] = json.loads(text)
    return result
