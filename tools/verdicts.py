"""Does a study say the same under other conditions? In flow studies, out flow tables in Markdown.

    python tools/verdicts.py configs/studies/shapes_low.py --seeds 0 1 2 3 4 --all-pass
    python tools/verdicts.py configs/studies/shapes_low.py --conditions usual threads teacher mkl

Each study is run (or continued, or read where it is finished) in a folder of its own. The first
table has one row a study: what was chosen, how much of the nuisance's band and of the rest it lets
pass, and the scores on fresh seeds. The second has the verdicts of every method against the student
alone and of the tuned one against every other, with the number of studies that say each. The third
has the standard deviation over seeds of each method, pooled over the studies.
``--all-pass`` also tunes PKD and plain L2 with as many trials: the tuned method has to beat the
better of the two, paired by seed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import chi2

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))  # before what this checkout holds is imported (E402)

from fourierkd.analysis import compare_pairs, load_results, paired_difference  # noqa: E402
from fourierkd.analysis.comparison import every_pair, margin_of, verdict  # noqa: E402
from fourierkd.analysis.results import metric_values  # noqa: E402
from fourierkd.analysis.selection import tuned_method  # noqa: E402
from fourierkd.config.load import load_config  # noqa: E402
from fourierkd.errors import exit_on_error  # noqa: E402
from fourierkd.options import add_options, parse_options  # noqa: E402
from fourierkd.records import Phase  # noqa: E402
from fourierkd.run_dir import RunDir  # noqa: E402
from fourierkd.spectral.masks import Mask, build_mask, mask_config  # noqa: E402
from sweeps.coordinator import run_study  # noqa: E402
from sweeps.space import METHOD, suggest  # noqa: E402
from sweeps.study import StudyConfig  # noqa: E402
from sweeps.study_file import load_study  # noqa: E402
from sweeps.study_record import noted  # noqa: E402

ALL_PASS = ("pkd", "feature_l2")
ALL_PAIRS = ("all", "of these")  # in place of one pair of methods
# What differs from the usual study: its keys, and variables of the environment.
CONDITIONS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "usual": ({}, {}),
    "threads": ({"jobs": 1, "trial_jobs": 1}, {}),  # one run at once has all cores
    "teacher": ({"teacher.seed": 1}, {}),
    "mkl": ({}, {"MKL_CBWR": "COMPATIBLE"}),
}


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a study config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="study seeds")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=["usual"])
    parser.add_argument("--all-pass", action="store_true", help="tune PKD and plain L2 too")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/verdicts"))
    add_options(parser, "--set", dest="overrides", help="study keys, as of sweeps/run.py study")
    args = parser.parse_args(arguments)
    rows, verdicts, tables = [], Counter[tuple[str, str, str]](), []
    for condition in args.conditions:
        for seed in args.seeds:
            keys, environment = CONDITIONS[condition]
            overrides = {**parse_options(args.overrides), **keys, "seed": seed}
            study = load_study(args.config, overrides)
            folder = args.work_dir / study.name / f"{condition}_seed{seed}"
            with changed(environment):
                table = finished(study, folder)
                row = {"condition": condition, "seed": seed, **chosen(study, table, folder)}
                row |= scores(study, table)
                if args.all_pass:
                    row |= against_all_pass(study, table, args.config, overrides, folder)
            rows.append(row)
            tables.append(finals(study, table))
            verdicts.update(found_verdicts(study, table, looked=noted(folder).looked))
            print(f"\n{len(rows)} studies\n\n{markdown(pd.DataFrame(rows))}\n")
    counted = pd.DataFrame(
        [(*key, f"{count} of {len(rows)}") for key, count in sorted(verdicts.items())],
        columns=["method", "verdict", "against", "studies"],
    )
    print(markdown(counted))
    print(f"\n{markdown(steadiness(tables))}")
    if len(tables) > 1:
        print(f"\n{markdown(agreement(study, tables))}")


def finals(study: StudyConfig, table: pd.DataFrame) -> pd.DataFrame:
    """Method, seed and score of the final runs, the chosen method as ``tuned``."""
    runs = table[table["phase"] == Phase.FINAL]
    tuned = tuned_method(table, metric=study.measure)
    return pd.DataFrame(
        {
            "method": runs["method"].replace({tuned: "tuned"}),
            "seed": runs["seed"],
            "score": metric_values(runs, study.measure),
        }
    )


def steadiness(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Standard deviation of each method over seeds, pooled over studies, with its 95 % interval.

    Within a study alone: what differs between studies (seeds, teacher, threads) is not in it. The
    interval is that of a variance of normal scores, by chi-square.
    """
    rows = []
    for method in dict.fromkeys(name for table in tables for name in table["method"]):
        scores = [table.loc[table["method"] == method, "score"].dropna() for table in tables]
        scores = [own for own in scores if len(own) > 1]
        freedom = sum(len(own) - 1 for own in scores)
        if not freedom:
            continue
        squares = sum(float(((own - own.mean()) ** 2).sum()) for own in scores)
        low, high = ((squares / chi2.ppf(p, freedom)) ** 0.5 for p in (0.975, 0.025))
        each = ", ".join(f"{own.std():.2g}" for own in scores)
        pooled = f"{(squares / freedom) ** 0.5:.2g} [{low:.2g}, {high:.2g}]"
        rows.append((method, len(scores), pooled, each))
    return pd.DataFrame(rows, columns=["method", "studies", "deviation", "of each study"])


def agreement(study: StudyConfig, tables: list[pd.DataFrame], *, draws: int = 2000) -> pd.DataFrame:
    """How often studies like these say the same of a pair, and as many of these all say the same.

    Scores are drawn from a normal distribution: the mean of each method over all studies, the
    covariance within the studies (seeds are paired).

    Returns:
        A row for each pair of the second table, and one for all of them at once: ``verdict``: the
        most frequent one; ``one study``: how often a study of as many seeds as these says it;
        ``all studies``: how often as many studies as ``tables`` say the same; and both with twice
        as many seeds a study.
    """
    wide = [table.pivot(index="seed", columns="method", values="score") for table in tables]
    within = pd.concat([own - own.mean() for own in wide])
    covariance = within.T @ within / (len(within) - len(wide))
    means, seeds = pd.concat(wide).mean(), len(wide[0])
    said = [_drawn(study, means, covariance, count, draws) for count in (seeds, 2 * seeds)]
    rows = []
    for pair in said[0]:
        found, _ = said[0][pair].most_common(1)[0]
        shares = [
            f"{share:.0%}"
            for counted in said
            for share in (
                counted[pair][found] / draws,
                sum((n / draws) ** len(tables) for n in counted[pair].values()),
            )
        ]
        rows.append((*pair, "" if pair == ALL_PAIRS else found, *shares))
    heads = ["one study", "all studies", f"one, {2 * seeds} seeds", f"all, {2 * seeds} seeds"]
    return pd.DataFrame(rows, columns=["method", "against", "verdict", *heads])


def _drawn(
    study: StudyConfig, means: pd.Series, covariance: pd.DataFrame, seeds: int, draws: int
) -> dict[tuple[str, str], Counter[str]]:
    """Pair -> how many of the drawn studies say what of it."""
    random, methods = np.random.default_rng(0), list(means.index)
    pairs = [(method, study.baseline) for method in methods if method != study.baseline]
    if "tuned" in methods:
        pairs += [("tuned", m) for m in methods if m not in ("tuned", study.baseline)]
    counted: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for _ in range(draws):
        drawn = random.multivariate_normal(means, covariance, seeds)
        scores = {method: pd.Series(own) for method, own in zip(methods, drawn.T, strict=True)}
        margin = margin_of(study.margin, scores)
        gains = every_pair(scores)
        said = {pair: verdict(gains[pair], study.direction, margin) for pair in pairs}
        for pair, found in said.items():
            counted[pair][found] += 1
        counted[ALL_PAIRS][" ".join(said.values())] += 1
    return counted


def finished(study: StudyConfig, folder: Path) -> pd.DataFrame:
    """The results of a study, which is run where it is not finished."""
    run_study(study, folder, command=f"tools/verdicts.py: {folder}")
    return load_results(folder)


def markdown(table: pd.DataFrame) -> str:
    """A table with its columns in a row above."""
    lines = [list(table.columns), ["---"] * len(table.columns)]
    lines += [["" if pd.isna(v) else str(v) for v in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@contextmanager
def changed(environment: dict[str, str]) -> Iterator[None]:
    """Have variables set, for the training server to inherit."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def chosen(study: StudyConfig, table: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """What the search chose, and the shares of the true and the nuisance's band that it passes."""
    request = RunDir(folder / tuned_runs(study, table)["run_dir"].iloc[0]).read_request()
    losses = load_config(request.config, request.options).model.losses
    loss = next(iter(losses.values())).loss  # of the maps; that of heads stands behind it
    mask = build_mask(loss.get("mask"))
    kind, *numbers = mask_config(mask).values()
    facts = {"tuned": loss["type"], "mask": " ".join([kind, *(f"{n:.2g}" for n in numbers)])}
    nuisance = load_config(study.config, study.options).model.teacher.get("nuisance")
    if nuisance is None:
        return facts
    true, false = passed(mask, build_mask(nuisance["mask"]))
    found = "yes" if true > 0 and false < 0.5 else "no"
    return {**facts, "true band": f"{true:.0%}", "nuisance": f"{false:.0%}", "found": found}


def tuned_runs(study: StudyConfig, table: pd.DataFrame) -> pd.DataFrame:
    """The final runs of the method that the search chose."""
    method = tuned_method(table, metric=study.measure)
    return table[(table["phase"] == Phase.FINAL) & (table["method"] == method)]


def passed(mask: Mask, nuisance: Mask) -> tuple[float, float]:
    """Shares of the frequencies outside and inside of the nuisance's band that a mask lets pass.

    Over radial frequencies from 0 to Nyquist; a weight above half its largest lets pass.
    """
    radius = torch.linspace(0, 1, 1001, dtype=torch.float64)
    open_, inside = (
        weights > weights.max() / 2
        for weights in (m.raw(torch.zeros_like(radius), radius) for m in (mask, nuisance))
    )
    return float(open_[~inside].double().mean()), float(open_[inside].double().mean())


def scores(study: StudyConfig, table: pd.DataFrame) -> dict[str, str]:
    """Mean and standard deviation over final seeds, by method."""
    finals = table[table["phase"] == Phase.FINAL]
    values = metric_values(finals, study.measure).groupby(finals["method"])
    return {
        str(name): f"{group.mean():.3g} ± {group.std():.2g}"
        for name, group in sorted(values, key=lambda pair: -pair[1].mean())
    }


def found_verdicts(
    study: StudyConfig, table: pd.DataFrame, *, looked: bool
) -> Iterator[tuple[str, str, str]]:
    """(method, verdict, against): all against the student alone, the tuned against all others."""
    tuned = tuned_method(table, metric=study.measure)
    pairs = compare_pairs(table, metric=study.measure, margin=study.margin, looked=looked)
    for row in pairs.to_dict("records"):
        name = "tuned" if row["method"] == tuned else row["method"]
        if row["against"] == study.baseline or name == "tuned":
            yield name, row["verdict"], row["against"]


def against_all_pass(
    study: StudyConfig,
    table: pd.DataFrame,
    config: Path,
    overrides: dict[str, Any],
    folder: Path,
) -> dict[str, str]:
    """The tuned method minus the better of the all-pass losses, each tuned with as many trials."""
    results = {}
    for name in ALL_PASS:
        changes = {
            "space": {**study.space, METHOD: suggest.method(name)},
            "arms": {name: study.arms[name]},
            "reference_arms": {},
            "baseline": name,  # the student alone and the others are in the study itself
        }
        other = load_study(config, {**overrides, **changes})
        results[name] = by_seed(other, finished(other, folder.with_name(f"{folder.name}_{name}")))
    best = max(results, key=lambda name: results[name].mean())
    gain = paired_difference(by_seed(study, table), results[best])
    return {
        **{f"tuned {name}": f"{v.mean():.3g} ± {v.std():.2g}" for name, v in results.items()},
        "gain": f"{gain.mean:+.3g} [{gain.low:+.3g}, {gain.high:+.3g}]",
    }


def by_seed(study: StudyConfig, table: pd.DataFrame) -> pd.Series:
    """Scores of the tuned method by final seed."""
    finals = tuned_runs(study, table)
    values: pd.Series = metric_values(finals, study.measure).set_axis(finals["seed"])
    return values if study.direction == "maximize" else -values


if __name__ == "__main__":
    exit_on_error("tools/verdicts.py", main)
