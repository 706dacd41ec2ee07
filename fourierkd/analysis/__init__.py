"""From run folders to evidence: results table, comparison, curves, spectra, HTML report."""

from fourierkd.analysis.comparison import compare, compare_pairs
from fourierkd.analysis.results import load_results, results_table, write_results
from fourierkd.analysis.stats import interval, paired_difference
from fourierkd.analysis.words import sentences

__all__ = [
    "compare",
    "compare_pairs",
    "interval",
    "load_results",
    "paired_difference",
    "results_table",
    "sentences",
    "write_results",
]
