"""Seeds that are added until every pair is decided: which, how many, what is said, and again."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pandas as pd
import pytest
from test_driver import InProcess

from fourierkd.analysis import load_results
from fourierkd.errors import ConfigError
from fourierkd.run_dir import RunDir
from sweeps.compare import comparison
from sweeps.coordinator import run_study
from sweeps.run import main

NAMES = ["student_alone", "pkd", "cwd", "kl"]
# mean and deviation over seeds: far better, equal and steady, too loose for any verdict
SCORES = {
    "student_alone": (30.0, 0.3),
    "pkd": (60.0, 3.0),
    "cwd": (30.0, 0.2),
    "kl": (30.0, 40.0),
}


class Noisy(InProcess):
    """The test score of a final run is drawn: by its method, and again the same."""

    def poll(self, timeout):
        ends = super().poll(timeout)
        for end in ends:
            run = RunDir(end.run)
            if end.run.name.startswith("final") and (result := run.read_result()) is not None:
                request = run.read_request()
                mean, deviation = SCORES[request.method]
                drawn = random.Random(f"{request.method}{request.seed}").gauss(mean, deviation)
                run.write_result(dataclasses.replace(result, metrics={"test/score": drawn}))
        return ends

    @property
    def sent(self):
        return [name for did, name, _ in self.log if did == "sent"]


@pytest.fixture
def run(study_file, tmp_path):
    def run(names=NAMES, work_dir="work", executor=None, **known):
        config = comparison(study_file, names, **{"seeds": 4, "max_seeds": 12, **known})
        run_study(config, tmp_path / work_dir, executor=executor or Noisy())
        return tmp_path / work_dir

    return run


def pairs(table: pd.DataFrame) -> dict[str, int]:
    finals = table[table["phase"] == "final"]
    return finals.groupby("method").size().to_dict()


def test_seeds_are_added_to_undecided_pairs_alone(run, capsys):
    executor = Noisy()
    work_dir = run(executor=executor)
    out, found = capsys.readouterr().out, pairs(load_results(work_dir))
    assert found["student_alone"] == found["kl"] == 12  # it stays open
    assert 4 <= found["pkd"] < 12
    assert 4 <= found["cwd"] < 12
    assert len(executor.sent) == len(set(executor.sent)) == sum(found.values())
    assert out.startswith("an effect of the margin would need about")  # before
    assert f"cwd equivalent with {found['cwd']}" in out
    assert f"pkd better with {found['pkd']}" in out
    assert "kl undecided with 12" in out
    assert "undecided: kl; seed 1011 is added" in out
    assert "differences at any number of seeds (Bonferroni) over every pair" in out
    page = (work_dir / "report.html").read_text()
    assert "confidence\nsequences" in page
    assert "by Holm" not in page


def test_it_goes_on_where_it_was_and_looks_at_nothing_twice(run, capsys):
    straight = load_results(run(work_dir="straight"))
    work_dir = run(max_seeds=6)
    after = Noisy()
    run(max_seeds=12, executor=after)
    table = load_results(work_dir)
    assert sorted(table["run_dir"]) == sorted(straight["run_dir"])
    assert len(after.sent) == len(table) - len(
        [d for d in table["run_dir"] if int(d[-4:]) < 1006]
    )  # fmt: skip
    again = Noisy()
    capsys.readouterr()
    run(max_seeds=12, executor=again)
    assert again.sent == []
    assert "is added" not in capsys.readouterr().out


def test_who_has_looked_gets_these_intervals_whatever_the_next_command_says(run, capsys):
    work_dir = run(max_seeds=5)
    capsys.readouterr()
    run(max_seeds=0, seeds=5)
    assert "differences at any number of seeds" in capsys.readouterr().out
    assert main(["report", str(work_dir)]) == 0
    assert "by Holm" not in (work_dir / "report.html").read_text()


def test_run_folders_of_a_comparison_that_was_looked_at_get_these_intervals_too(run, capsys):
    work_dir = run(max_seeds=5)
    folders = []
    for name in ("pkd", "student_alone"):
        folders += sorted(map(str, (work_dir / "runs").glob(f"final_{name}_*")))
    for folder in folders:
        (Path(folder) / "config.py").write_text("metric = 'score'\n")
    capsys.readouterr()
    assert main(["compare", *folders]) == 0
    assert "differences at any number of seeds" in capsys.readouterr().out


def test_a_comparison_of_a_fixed_number_of_seeds_is_what_it_was(run, capsys):
    work_dir = run(max_seeds=0)
    assert set(pairs(load_results(work_dir)).values()) == {4}
    assert "differences by Holm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"seeds": 13}, "added to a first one at least, up to max_seeds"),
        ({"max_seeds": 901}, "max_seeds is at most 900"),
    ],
)
def test_seeds_that_cannot_be_added(run, keys, message):
    with pytest.raises(ConfigError, match=message):
        run(**keys)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--max-seeds", "9"], "--max-seeds goes with --until-decided"),
        (["--until-decided", "--max-seeds", "0"], "--max-seeds must be .* at least 1, got 0"),
    ],
)
def test_max_seeds_that_are_no_rule(study_file, more, message):
    with pytest.raises(ConfigError, match=message):
        main(["compare", str(study_file), "--methods", "pkd", *more])
