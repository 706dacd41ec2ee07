"""Comparisons within a budget: what is measured, kept and scaled, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_worker import GFLOPS
from test_driver import InProcess
from tiny_study import run_dirs

from fourierkd.errors import ConfigError, FourierKDError, StudyError
from fourierkd.literals import read_literals
from sweeps.budget import iterations_within
from sweeps.compare import comparison
from sweeps.coordinator import run_study
from sweeps.factors import component_study
from sweeps.run import main
from sweeps.study_file import load_study
from sweeps.study_record import read_study

PAIR = Path(__file__).resolve().parents[2] / "configs/shapes_low/pspnet_fourier.py"
NAMES = ["student_alone", "pkd", "feature_l2"]
LONG = {"options.train_cfg.max_iters": 40}


@pytest.fixture
def run(study_file, tmp_path):
    def run(names=NAMES, budget="flops", overrides=LONG, **known):
        config = comparison(
            study_file, names, budget=budget, overrides=overrides, **{"seeds": 1, **known}
        )
        run_study(config, tmp_path / "work", executor=InProcess())
        return tmp_path / "work"

    return run


def iterations(work_dir) -> dict[str, int]:
    return {d.read_request().method: d.read_result().iters for d in run_dirs(work_dir).values()}


def measured(work_dir) -> list[str]:
    file = work_dir / "measured"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("cost", [0.031, 0.0437, 0.05, 0.09, 0.21])
def test_whole_iterations_cost_the_budget_within_3_percent(cost):
    found = iterations_within(640, cost, 0.05)
    assert abs(found * cost / (640 * 0.05) - 1) <= 0.03


def test_a_schedule_that_is_too_short_is_refused():
    assert iterations_within(10, 0.2, 0.1) == 5
    with pytest.raises(ConfigError, match="within 3%, .*got 6.67; take a longer schedule"):
        iterations_within(10, 0.15, 0.1)


@pytest.mark.parametrize("budget", ["flops", "seconds"])
def test_every_method_costs_what_the_baseline_does(run, budget, capsys):
    work_dir = run(budget=budget)
    assert iterations(work_dir) == {"student_alone": 40, "pkd": 32, "feature_l2": 20}
    assert measured(work_dir) == ["student_alone pkd feature_l2"]  # in one process
    runs = run_dirs(work_dir)
    assert runs["final_pkd_seed1000"].read_request().options["train_cfg.val_interval"] == 2
    out, page = capsys.readouterr().out, (work_dir / "report.html").read_text()
    equal = "equal operations" if budget == "flops" else "equal seconds"
    for text in (f"cost of the final runs, {equal}", "GFLOP a step", "ratio"):
        assert text in out
    assert f"Cost of the final runs: {equal}" in page
    assert '<th scope="row">pkd</th><td class="n">32</td>' in page


def test_the_reference_is_the_baseline_that_is_named(run):
    work_dir = run(reference="pkd")
    assert iterations(work_dir) == {"student_alone": 50, "pkd": 40, "feature_l2": 25}


def test_costs_are_kept_and_added_methods_scaled_by_the_same_reference(run, capsys):
    work_dir = run(NAMES[:2])
    kept = read_study(work_dir).budget
    assert kept.reference == "student_alone"
    assert {name: cost.gflop for name, cost in kept.costs.items()} == {
        name: GFLOPS[name] for name in NAMES[:2]
    }
    run(NAMES[:2], seeds=2)  # continued: nothing is measured again
    assert measured(work_dir) == ["student_alone pkd"]
    assert "costs 8 s" not in capsys.readouterr().out
    (work_dir / "slower").write_text("3")  # this machine is another one now
    run(["pkd", "cwd", "feature_l2"], reference="pkd")
    assert measured(work_dir)[1:] == ["student_alone cwd feature_l2"]
    assert iterations(work_dir) == {"student_alone": 40, "pkd": 32, "cwd": 80, "feature_l2": 20}
    added = read_study(work_dir).budget
    assert added.costs["pkd"] == kept.costs["pkd"]
    out = capsys.readouterr().out
    assert "a step of student_alone costs 24 s, 8 GFLOP (3, 1 thread a run) and was" in out
    assert "steps were measured on several machines: student_alone, pkd on 1, 1 thread" in out


def test_trials_go_by_the_budget_too(run, study_file):
    (study_file.parent / "run_config.py").write_text("metric = 'score'\ntaps = dict(feature='x')\n")
    work_dir = run(["student_alone", "pkd"], tune=2, overrides={**LONG, "rung_trials": 2})
    for name, run_dir in run_dirs(work_dir).items():
        expected = 32 if "pkd" in name else 40
        assert run_dir.read_result().iters == expected, name


def test_equal_iterations_show_what_was_measured(run, capsys):
    work_dir = run(budget=None)
    assert not (work_dir / "measured").exists()
    run(budget="iterations")  # the same comparison, its costs beside it
    run(budget=None)
    assert measured(work_dir) == ["student_alone pkd feature_l2"]
    assert set(iterations(work_dir).values()) == {40}
    out = capsys.readouterr().out
    assert out.count("cost of the final runs, equal iterations") == 3


def test_one_folder_has_one_budget(run, study_file, tmp_path):
    assert comparison(study_file, NAMES, seeds=1, budget="seconds").name == "tiny_compare_seconds"
    assert comparison(study_file, NAMES, seeds=1, budget="iterations").name == "tiny_compare"
    named = {**LONG, "name": "one"}
    run(overrides=named)
    with pytest.raises(StudyError, match="budget differs from it"):
        run(budget=None, overrides=named)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fake.epochs": True}, "--budget scales trainings by iterations"),
        ({"param_scheduler": {"type": "PolyLR", "end": 5}}, "param_scheduler goes by epochs"),
        ({"fake.unmeasurable": "no data"}, "what the methods cost cannot be measured: no data"),
        ({"train_cfg.max_iters": 12}, "no whole number of iterations does, got 9.6"),
    ],
)
def test_what_cannot_be_scaled_ends_before_anything_is_trained(run, tmp_path, options, message):
    overrides = {
        f"options.{key}": value for key, value in {"train_cfg.max_iters": 40, **options}.items()
    }
    with pytest.raises(FourierKDError, match=message) as raised:
        run(overrides=overrides)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "work/runs").exists()


def test_what_a_budget_does_not_go_with(study_file, tmp_path):
    with pytest.raises(ConfigError, match="budget is of one kind, got 'second'; did you mean 'sec"):
        comparison(study_file, NAMES, seeds=1, budget="second")
    with pytest.raises(ConfigError, match="budget is for comparisons"):
        load_study(study_file, {"budget": "flops"})
    with pytest.raises(ConfigError, match="with equal seeds, got .*budget"):
        component_study(study_file, ["noise"], seeds=1, overrides={"budget": "flops"})
    with pytest.raises(ConfigError, match="--factors trains .*got '--budget'"):
        main(["compare", str(study_file), "--factors", "noise", "--budget", "flops"])
    with pytest.raises(ConfigError, match="compared as they are, got '--budget'"):
        main(["compare", str(tmp_path), "--budget", "flops"])


def test_a_real_comparison_within_a_budget_of_operations(tmp_path, monkeypatch):
    """The teacher runs at every step here, so that a method costs much more than the student."""
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    _save_teacher(tmp_path / "teacher.pth", torch)
    options = {
        "model.teacher.checkpoint": str(tmp_path / "teacher.pth"),
        "data_root": str(tmp_path / "data"),
        "prepare_data.size": 8,
        "prepare_data.val_size": 2,
        "prepare_data.test_size": 2,
        "train_dataloader.dataset.indices": 8,
        "default_hooks.teacher_maps": None,
        "train_cfg.max_iters": 30,
        "train_cfg.val_interval": 15,
        "param_scheduler.total_steps": 30,
    }
    overrides = {f"options.{key}": value for key, value in options.items()}
    config = comparison(
        PAIR, ["student_alone", "pkd"], seeds=1, budget="flops", overrides=overrides
    )
    run_study(config, tmp_path / "work")
    costs = read_study(tmp_path / "work").budget.costs
    spent, counts = {}, iterations(tmp_path / "work")
    for run_dir in run_dirs(tmp_path / "work").values():
        method, iters = run_dir.read_request().method, run_dir.read_result().iters
        spent[method] = iters * costs[method].gflop
        assert read_literals(run_dir.config)["param_scheduler"]["total_steps"] == iters
        assert sum(any(key.startswith("val/") for key in row) for row in run_dir.rows()) == 2
    assert counts["student_alone"] == 30 > 1.1 * counts["pkd"]
    assert spent["pkd"] == pytest.approx(spent["student_alone"], rel=0.03)


def _save_teacher(path, torch) -> None:
    from fourierkd.config.load import load_config
    from fourierkd.distill.model_config import build_model
    from fourierkd.distill.register import register_all

    register_all()
    model = load_config(PAIR, {}).model.teacher.model
    torch.save(build_model(model, role="teacher").state_dict(), path)
