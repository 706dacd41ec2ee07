"""What a study's report says first, in words: its view flows in, sentences flow out.

The page and the report in W&B begin with the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fourierkd.analysis import factorial
from fourierkd.analysis.cautions import cautions
from fourierkd.analysis.headline import headline
from fourierkd.analysis.view import StudyView
from fourierkd.analysis.words import sentences


@dataclass(frozen=True)
class Answer:
    """The words of a study.

    Attributes:
        headline: one sentence; empty where there is no final run.
        verdicts: a sentence a method, or a part of a component study.
        warnings: what weakens them.
        notes: of the study itself.
    """

    headline: str
    verdicts: Sequence[str]
    warnings: Sequence[str]
    notes: Sequence[str]


def answer_of(view: StudyView) -> Answer:
    """The words of a study as far as it has come.

    Raises:
        FourierKDError: its runs cannot be compared (see ``comparison.compare``).
    """
    return Answer(
        headline(view.table, baseline=view.baseline, **view.measure),
        _verdicts(view),
        [*cautions(view), *(view.facts.get("warnings") or [])],
        list(view.facts.get("notes") or []),
    )


def _verdicts(view: StudyView) -> list[str]:
    parts = view.facts.get("parts")
    if parts and not view.finals.empty:
        found = factorial.effects(view.table, parts, **view.measure)
        return factorial.effect_sentences(found, view.metric.name)
    return sentences(view.comparison, view.metric.name) if len(view.comparison) else []
