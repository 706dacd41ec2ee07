"""The W&B report of a study as code: in flow the words and tables of its own report, and which W&B
runs they are of, out flows a report to save.

Its panels are of these runs alone, by their ids: of the final runs where methods are compared, of
the trials where parameters are. So another study of that name in the project is not mixed in, and
final runs are never averaged with trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fourierkd.tracking import panels
from fourierkd.tracking.panels import Shown

MOST_TITLE = 128  # characters that W&B takes
WIDTH, HEIGHT = 24, 8  # of a report, and of a panel in it, in W&B's steps
BY = "method"
RESULT_TABLES = ("parts", "result", "pairs", "beside", "cost")
CLASS_TABLES = ("classes",)


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a report says.

    Attributes:
        headline: one sentence.
        verdicts, warnings, notes: sentences.
        intervals: what those of the tables are, a sentence.
        tables: name -> Markdown; those of ``RESULT_TABLES`` and ``CLASS_TABLES`` have a place of
            their own, others stand where parameters do.
        finals, trials: ids of the W&B runs that are compared, and of those of the search.
        made: how, where and when; the last lines.
    """

    headline: str
    verdicts: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()
    intervals: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    finals: Sequence[str] = ()
    trials: Sequence[str] = ()
    made: Sequence[str] = ()


def study_report(shown: Shown, words: Words, *, online: bool = True) -> Any:
    """The ``Report`` of a study.

    Args:
        shown, words: what it shows and says.
        online: name the project of each set of runs, which W&B looks up; False: made without
            network or account.
    """
    import wandb_workspaces.reports.v2 as wr

    place = {"entity": shown.entity, "project": shown.project} if online else {}

    def part(
        title: str, tables: Sequence[str], runs: Sequence[str], own: Sequence[Any], note: str = ""
    ) -> list[Any]:
        """A heading, tables with a note, and panels; nothing where there are neither."""
        there = [words.tables[name] for name in tables if name in words.tables]
        grid = _grid(title, place, runs, own) if own and runs else None
        said = [*map(wr.MarkdownBlock, there), *([wr.P(note)] if there and note else [])]
        return [wr.H2(title), *said, *([grid] if grid else [])] if said or grid else []

    metric = shown.metric
    of_tuning = [n for n in words.tables if n not in (*RESULT_TABLES, *CLASS_TABLES)]
    result = [*panels.result_panels(metric, by=BY), *panels.curve_panels(metric, by=BY)]
    classes = panels.class_panels(metric, by=BY) if set(CLASS_TABLES) & set(words.tables) else []
    blocks = [
        wr.P(words.headline or "Nothing is compared yet."),
        *_listed("", words.verdicts),
        *_listed("To be read with care", words.warnings),
        *map(wr.P, words.notes),
        *part("Result", RESULT_TABLES, words.finals, result, words.intervals),
        *part("Classes", CLASS_TABLES, words.finals, classes),
        *part("Spectra", (), words.finals, panels.spectra_panels(shown.spectra, by=BY)),
        *part("Predictions", (), words.finals, panels.prediction_panels(shown.predictions)),
        *part("Tuning", of_tuning, words.trials, panels.tuning_panels(metric, shown.parameters)),
        *_listed("How it was made", words.made),
    ]
    return wr.Report(
        project=shown.project,
        entity=shown.entity or "",
        title=f"fourierkd {shown.study}"[:MOST_TITLE],
        description=f"{metric} of every method, and what it rests on",
        blocks=blocks,
        width="fluid",
    )


def _listed(title: str, lines: Sequence[str]) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    if not lines:
        return []
    return [*([wr.H3(title)] if title else []), wr.UnorderedList(list(lines))]


def _grid(title: str, place: Mapping[str, Any], runs: Sequence[str], own: Sequence[Any]) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    left = 0
    for panel in own:
        times = 2 if isinstance(panel, wr.MediaBrowser) else 1  # a row of pictures a run
        wide = times * WIDTH // 2
        panel.layout = wr.Layout(x=left % WIDTH, y=0, w=wide, h=times * HEIGHT)
        left += wide
    chosen = expr.And(expr.Metric("ID").isin(sorted(runs)))
    return wr.PanelGrid(runsets=[wr.Runset(**place, name=title, filters=chosen)], panels=list(own))
