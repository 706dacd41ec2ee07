"""A study's final tables as a W&B run of its own: in flow data frames, out flows its address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fourierkd.records import Phase, Request, State, Tracking
from fourierkd.run_dir import RunDir
from fourierkd.tracking.wandb_backend import WandbBackend

if TYPE_CHECKING:
    import pandas as pd


def log_study_table(
    folder: str | os.PathLike[str],
    tables: Mapping[str, pd.DataFrame],
    *,
    study: str,
    metric: str | None = None,
    wandb: Mapping[str, Any] | None = None,
) -> str | None:
    """Log a study's final tables as one W&B run with job type ``report`` in the study's group.

    Args:
        folder: The study's work dir; W&B's files go to its ``wandb`` folder.
        tables: Panel name -> data frame, such as ``{"results": ..., "cost": ...}``.
        study: Name of the study, and of the W&B group.
        metric: The study's metric, for the run's config.
        wandb: Fields of a request's ``Tracking``: project, entity, mode.

    Returns:
        Address of the run's page, or None offline.
    """
    shown = {"name": f"{study} report", "group": study, **(wandb or {}), "job_type": "report"}
    request = Request(
        config="",
        seed=0,
        study=study,
        phase=Phase.REPORT,
        method="report",
        wandb=Tracking(**shown),
    )
    backend = WandbBackend(RunDir(folder), request, {"metric": metric} if metric else {})
    for key, frame in tables.items():
        backend.table(key, frame)
    url = backend.url
    backend.close(State.COMPLETE)
    return url
