"""A study's workspace and report in W&B: in flows what they show and say, out flow addresses.

``wandb/dashboard.json`` of the study's folder keeps which views were saved, by place, so that they
are updated and not doubled::

    {"https://api.wandb.ai/lab/fourierkd": {"workspace": {"id": "...", "url": "..."},
                                            "report": {"id": "...", "url": "..."}}}

A view that somebody deleted is made anew. What was changed in one by hand is replaced, but for the
comments on a report.
"""

from __future__ import annotations

import json
from typing import Any

from fourierkd.errors import ConfigError, FourierKDError, one_line
from fourierkd.run_dir import RunDir, read_json, write_atomic
from fourierkd.tracking import panels
from fourierkd.tracking.login import base_url, logged_in
from fourierkd.tracking.panels import Shown
from fourierkd.tracking.report import Words, study_report
from fourierkd.tracking.workspace import study_workspace

NAME = "dashboard.json"
WORKSPACE, REPORT = "workspace", "report"


def dashboard_json(shown: Shown, words: Words) -> dict[str, Any]:
    """What ``save_dashboard`` would store, made without network or account: ``workspace`` and
    ``report``, JSON's types alone; equal input gives equal JSON.
    """
    report = study_report(shown, words, online=False)
    return {
        WORKSPACE: panels.as_json(study_workspace(shown)._to_model()),
        REPORT: panels.as_json(report._to_model()),
    }


def save_dashboard(study: RunDir, shown: Shown, words: Words) -> dict[str, str]:
    """Save a study's workspace and report, in place of those that were saved before.

    Args:
        study: its work dir, where is kept which they are.
        shown, words: what they show and say.

    Returns:
        ``workspace`` and ``report`` -> address.

    Raises:
        ConfigError: nobody is logged in, or the server refused.
        RunError: what is kept is damaged.
    """
    if not logged_in():
        raise ConfigError(
            "a W&B dashboard needs a login", fix="run `wandb login`, or use --dry-run"
        )
    import wandb

    path = study.wandb / NAME
    kept = read_json(path) or {}
    try:
        shown = shown.of(shown.entity or wandb.Api().default_entity or "")
        own = kept.setdefault(f"{base_url()}/{shown.entity}/{shown.project}", {})
        saved = {WORKSPACE: _save_workspace, REPORT: _save_report}
        for what, save in saved.items():
            own[what] = save(own.get(what) or {}, shown, words)
            write_atomic(path, json.dumps(kept, indent=1) + "\n")
    except FourierKDError:
        raise
    except Exception as error:
        raise ConfigError(
            f"W&B did not take the dashboard ({one_line(error)})",
            value=f"{shown.entity}/{shown.project}",
            fix="the project must hold the study's runs (sync uploads them); or use --dry-run",
        ) from error
    return {what: own[what]["url"] for what in saved}


def _save_workspace(kept: dict[str, str], shown: Shown, _: Words) -> dict[str, str]:
    workspace = study_workspace(shown)
    there = _there(kept)
    if there is not None:
        workspace._internal_id, workspace._internal_name = there["id"], there["name"]
    workspace.save()
    return {"id": workspace._internal_id, "url": workspace.url}


def _save_report(kept: dict[str, str], shown: Shown, words: Words) -> dict[str, str]:
    import wandb_workspaces.reports.v2 as wr

    report = study_report(shown, words)
    if _there(kept) is not None:
        saved = wr.Report.from_url(kept["url"])
        saved.title, saved.description = report.title, report.description
        saved.blocks, saved.width = report.blocks, report.width
        report = saved
    report.save()
    return {"id": report.id, "url": report.url}


def _there(kept: dict[str, str]) -> dict[str, Any] | None:
    """The view that was saved, if a server still has it."""
    import wandb
    from wandb_workspaces._graphql import execute_graphql
    from wandb_workspaces.reports.v2 import gql

    if "id" not in kept:
        return None
    view: dict[str, Any] | None = execute_graphql(
        wandb.Api(), gql.view_report, {"reportId": kept["id"]}
    ).get("view")
    return view
