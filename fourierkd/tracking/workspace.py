"""The W&B workspace of a study as code: in flows what a study has, out flows a view to save.

It shows all runs of the study's group, also while it runs; its panels group them by phase and
method, so that final runs are never averaged with trials.
"""

from __future__ import annotations

from typing import Any

from fourierkd.tracking import panels
from fourierkd.tracking.panels import Shown
from fourierkd.tracking.wandb_values import PHASE_METHOD

RUN_COLUMNS = ("method", "phase", "seed", "trial")


def study_workspace(shown: Shown) -> Any:
    """The ``Workspace`` of a study, made without network or account."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    metric, by = shown.metric, PHASE_METHOD
    parts = {  # title -> panels and rows of two
        "Result": panels.result_panels(metric, by=by),
        "Learning curves": panels.curve_panels(metric, by=by),
        "Spectra": panels.spectra_panels(shown.spectra, by=by),
        "Classes and predictions": [
            *panels.class_panels(metric, by=by),
            *panels.prediction_panels(shown.predictions),
        ],
        "What was tuned": panels.tuning_panels(metric, shown.parameters),
    }
    sections = [
        ws.Section(
            name=title,
            panels=own,
            is_open=True,
            layout_settings=ws.SectionLayoutSettings(columns=2, rows=(len(own) + 1) // 2),
        )
        for title, own in parts.items()
        if own
    ]
    comparer = ws.Section(name="Runs side by side", panels=[wr.RunComparer(diff_only=True)])
    return ws.Workspace(
        entity=shown.entity or "",
        project=shown.project,
        name=f"fourierkd {shown.study}",
        sections=[*sections, comparer],
        settings=ws.WorkspaceSettings(x_axis="iter", max_runs=panels.MOST_RUNS),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == shown.study),
            order=[ws.Ordering(ws.Summary(f"test/{metric}"), ascending=False)],
            pinned_columns=[
                "run:displayName",
                *(f"config:{name}.value" for name in RUN_COLUMNS),
                f"summary:test/{metric}",
                f"summary:best/{metric}",
            ],
        ),
    )
