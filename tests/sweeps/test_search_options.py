"""Trials that are cheaper than full runs: which runs have the options, and what is said of it."""

from __future__ import annotations

import pytest
from test_driver import InProcess
from tiny_study import run_dirs

from fourierkd.errors import ConfigError, StudyError
from sweeps.ahead import requests
from sweeps.compare import comparison
from sweeps.coordinator import run_study
from sweeps.run import main
from sweeps.study_file import load_study

SHORT = {"search_options.train_cfg.max_iters": 4}


@pytest.fixture
def run(study_file, tmp_path):
    def run(**overrides):
        config = load_study(study_file, {"trials": 6, "final_seeds": 1, **SHORT, **overrides})
        run_study(config, tmp_path / "work", executor=InProcess())
        return tmp_path / "work"

    return run


def test_arms_and_trials_are_cheaper_and_the_rest_is_in_full(run, capsys):
    work_dir = run()
    for name, run_dir in run_dirs(work_dir).items():
        options, iters = run_dir.read_request().options, run_dir.read_result().iters
        cheap = name.startswith(("trial", "baseline"))
        assert ("train_cfg.max_iters" in options) == cheap
        assert iters == (4 if cheap else 10)
    out, page = capsys.readouterr().out, (work_dir / "report.html").read_text()
    said = "Trials were trained with train_cfg.max_iters=4, rung and final runs without. Kendall"
    assert said in out
    assert said in page.replace("&#39;", "'")
    (work_dir / "report.html").unlink()
    assert main(["report", str(work_dir)]) == 0
    assert said in (work_dir / "report.html").read_text().replace("&#39;", "'")


def test_without_them_nothing_is_said(run, capsys):
    work_dir = run(search_options={})
    assert "Kendall" not in capsys.readouterr().out + (work_dir / "report.html").read_text()


def test_a_comparison_without_a_search_has_no_trials_to_speak_of(study_file, tmp_path, capsys):
    study = comparison(study_file, ["student_alone", "pkd"], seeds=1, overrides=dict(SHORT))
    run_study(study, tmp_path / "work", executor=InProcess())
    assert "Kendall" not in capsys.readouterr().out


def test_they_are_part_of_what_a_study_is(run):
    run()
    with pytest.raises(StudyError, match="search_options differs from it"):
        run(**{"search_options.train_cfg.max_iters": 6})


def test_they_are_tried_ahead(study_file):
    asked = requests(load_study(study_file, SHORT))
    cheap = {name for name, r in asked.items() if "train_cfg.max_iters" in r.options}
    assert cheap == {name for name in asked if name.startswith("a trial with")}


@pytest.mark.parametrize(
    "key",
    [
        "model.losses.fourier.loss.loss_weight",
        "method",
        "taps.feature",
        "metric",
        "data_root",
        "prepare_data.size",
    ],
)
def test_what_would_change_what_is_compared_is_refused(study_file, key):
    with pytest.raises(ConfigError, match=f"leave models, teacher, method.*got '{key}'; set it in"):
        load_study(study_file, {f"search_options.{key}": "pkd"})


def test_the_space_and_they_set_different_options(study_file):
    space = {"space.train_cfg": {"max_iters": 5}}
    with pytest.raises(ConfigError, match="set different options, got 'train_cfg'"):
        load_study(study_file, {**SHORT, **space})
