"""The words of a study are those that its page begins with."""

from __future__ import annotations

from html import unescape
from pathlib import Path

from fourierkd.analysis.answer import answer_of
from fourierkd.analysis.report import write_report
from fourierkd.analysis.results import results_table
from fourierkd.analysis.view import view_of
from fourierkd.run_dir import RunDir


def test_the_page_begins_with_them(study_runs: list[RunDir], tmp_path: Path) -> None:
    table = results_table(study_runs, work_dir=study_runs[0].path.parent.parent)
    facts = {"warnings": ["Warned of."], "notes": ["Noted."]}
    answer = answer_of(view_of(table, tmp_path, facts))
    assert answer.headline.startswith("Best method by mean: tuned with ")
    others = {line.split()[0] for line in answer.verdicts}
    assert others == {"published", "tuned", "feature_l2"}
    assert "1 of 12 final runs failed: feature_l2 seed 102" in " ".join(answer.warnings)
    assert (answer.warnings[-1], answer.notes) == ("Warned of.", ["Noted."])
    page = unescape(write_report(tmp_path, table, info=facts).read_text())
    said = [answer.headline, *answer.verdicts, *answer.warnings, *answer.notes]
    places = [page.index(line) for line in said]
    assert places == sorted(places)


def test_without_runs_there_is_none(study_runs: list[RunDir], tmp_path: Path) -> None:
    table = results_table(study_runs[:1], work_dir=tmp_path)
    answer = answer_of(view_of(table, tmp_path, {}))
    assert (answer.headline, list(answer.verdicts), list(answer.notes)) == ("", [], [])
