"""What a study's report is about: a results table and the study's facts flow in, a view flows out.

Page, tables and figures of a study are all made from one view, so they show the same runs, the same
comparison and the same styles.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fourierkd.analysis.comparison import compare
from fourierkd.analysis.curves import mean_curves, scalar_curves
from fourierkd.analysis.figures import Style, styles
from fourierkd.analysis.results import metric_of, metric_values, most_common
from fourierkd.analysis.selection import chosen_row, of_search, searches, tuned_method
from fourierkd.methods import STUDENT_ALONE
from fourierkd.records import VAL, Metric, Phase, State


@dataclass(frozen=True)
class StudyView:
    """A study's runs and what they are compared by.

    Attributes:
        table: its results table.
        work_dir: what a relative ``run_dir`` of it is relative to.
        facts: ``info`` of ``report.write_report``.
        metric: what runs are judged by.
        baseline: the method that differences are taken against.
    """

    table: pd.DataFrame
    work_dir: Path
    facts: Mapping[str, Any]
    metric: Metric
    baseline: str

    @property
    def looked(self) -> bool:
        """Whether seeds were added after scores were seen."""
        return bool(self.facts.get("looked"))

    @property
    def measure(self) -> dict[str, Any]:
        """Arguments of ``comparison.compare`` but for the baseline."""
        return {"metric": self.metric, "margin": self.facts.get("margin"), "looked": self.looked}

    @property
    def finals(self) -> pd.DataFrame:
        """The final runs."""
        return self.table[self.table["phase"] == Phase.FINAL]

    @property
    def split(self) -> str:
        """Where the compared runs were scored."""
        known = (most_common(runs["split"]) for runs in (self.finals, self.shown))
        return next((split for split in known if split), VAL)

    @property
    def label(self) -> str:
        """Of an axis or a column of scores."""
        return f"{self.metric.name} ({self.split})"

    @cached_property
    def searches(self) -> dict[str | None, pd.DataFrame]:
        """What is tuned -> its part of the table."""
        return {tunes: of_search(self.table, tunes) for tunes in searches(self.table)}

    @cached_property
    def chosen(self) -> list[Hashable]:
        """Rows of the chosen trials."""
        found = (chosen_row(part, metric=self.metric) for part in self.searches.values())
        return [row for row in found if row is not None]

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The runs that are drawn (see ``shown_runs``)."""
        return shown_runs(self.table, self.chosen)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Of ``compare``; empty where the baseline has no final run."""
        if self.baseline not in set(self.finals["method"]):
            return pd.DataFrame()
        return compare(self.table, baseline=self.baseline, **self.measure)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """``method, seed, value`` of the complete runs that are compared."""
        whole = self.shown[self.shown["state"] == State.COMPLETE]
        values = metric_values(whole, self.metric)
        return whole.assign(value=values)[["method", "seed", "value"]]

    @cached_property
    def val_curves(self) -> pd.DataFrame:
        """The metric on val over training, mean over seeds (see ``curves.mean_curves``)."""
        key = self.metric.key()
        curves = scalar_curves(self.shown, self.work_dir, prefix=key)
        return mean_curves(curves[curves["name"] == key])

    @cached_property
    def palette(self) -> dict[str, Style]:
        """Method -> style, of those that are drawn."""
        named = self.comparison if len(self.comparison) else self.shown
        return styles(named["method"], self.baseline)

    @cached_property
    def tuned(self) -> str | None:
        """Which method of the final runs is the chosen trial."""
        return tuned_method(of_search(self.table, None), metric=self.metric)


def view_of(table: pd.DataFrame, work_dir: Path, facts: Mapping[str, Any]) -> StudyView:
    """The view of a table, by the facts of ``report.write_report``.

    Raises:
        DataError: the runs disagree on which way is better.
    """
    measured = metric_of(table, facts.get("metric"))
    return StudyView(table, work_dir, facts, measured, facts.get("baseline") or STUDENT_ALONE)


def shown_runs(table: pd.DataFrame, chosen: Sequence[Hashable]) -> pd.DataFrame:
    """The runs drawn in curves and spectra, with their label in ``method``.

    The final runs; before there are any: all runs beside the searches, and the chosen trials. A
    method with several runs of one seed is shown run by run, by folder name.
    """
    finals = table[(table["phase"] == Phase.FINAL) & table["method"].notna()]
    if len(finals):
        return finals
    shown = table[
        table["phase"].notna() & ~table["phase"].isin([Phase.TRIAL, Phase.RUNG, Phase.TEACHER])
    ]
    shown = pd.concat([shown, table.loc[[row for row in chosen if row not in shown.index]]])
    shown = shown.assign(method=shown["method"].fillna("run"))
    repeated = shown.duplicated(["method", "seed"], keep=False)
    folders = shown["run_dir"].map(lambda name: Path(name).name)
    return shown.assign(method=shown["method"].where(~repeated, folders))
