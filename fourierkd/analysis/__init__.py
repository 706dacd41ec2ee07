"""From run folders to evidence: results table, comparison, curves, spectra, HTML report."""

from fourierkd.analysis.results import load_results, results_table, write_results
from fourierkd.analysis.stats import compare, interval, paired_difference, sentences

__all__ = [
    "compare",
    "interval",
    "load_results",
    "paired_difference",
    "results_table",
    "sentences",
    "write_results",
]
