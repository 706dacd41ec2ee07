"""The report says what the table says, loads nothing, and can be written at any stage."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from plotly.offline import get_plotlyjs

from fourierkd.analysis.report import write_report
from fourierkd.analysis.results import results_table
from fourierkd.analysis.tuning import study_from_table
from fourierkd.run_dir import RunDir
from tests.pages import page_of, text_of

Build = Callable[..., RunDir]
INFO = {
    "config": "configs/studies/shapes_seg.py",
    "command": "python sweeps/run.py study",
    "time": {"training": 90.0, "report": 10.0, "total": 200.0, "teacher": 300.0},
    "notes": ["The teacher came from the cache."],
}


@pytest.fixture(scope="module")
def page(study_dir: Path, study_runs: list[RunDir]) -> str:
    return page_of(write_report(study_dir, results_table(study_runs), None, INFO))


def test_head_and_verdicts(page: str) -> None:
    text = text_of(page)
    assert "25 runs: 21 complete, 2 failed, 2 pruned; metric mIoU" in text
    first = "fake Best method by mean: tuned with 31.27 mIoU on test (3 seeds); it is better than "
    assert first in text  # right below the title
    assert "tuned is better than student_alone: +5.10 mIoU [+2.33, +7.87] (3 paired seeds)" in text
    words = (
        "published is undecided against student_alone: +0.43 mIoU [-4.53, +5.39] (3 paired seeds)"
    )
    assert words in text
    assert '<span class="tag undecided">undecided</span>' in page
    assert "equivalent: within ±1 mIoU" in text
    assert "config configs/studies/shapes_seg.py" in text
    assert "versions torch 2.13.0, mmseg 1.4.2, optuna 5.0.0" in text
    assert "commit 0123456789abcdef0123456789abcdef01234567" in text
    assert "measure mIoU on test, maximized" in text
    assert "The teacher came from the cache." in text


def test_tables(page: str) -> None:
    text = text_of(page)
    assert "tuned 3 31.27 [27.66, 34.87] +5.10 [+2.33, +7.87] 3 better" in text
    assert "missing seeds: 102 (failed: killed by signal 9)" in text
    every_pair = "published +0.43 undecided [-4.53, +5.39] -4.67 worse [-7.36, -1.97]"
    assert every_pair in text
    mirror = "-5.10 worse [-7.87, -2.33] -3.50 undecided [-11.14, +4.14] -0.43 undecided [-5.39"
    assert mirror in text
    head = "95 % interval of the mean, all at once median difference 95 % bootstrap interval"
    assert head in text
    assert "tuned [+2.06, +8.14] +5.20 [+4.70, +5.40] – " in text
    assert "3 better 32.27 14 % [11, 16]" in text  # mean on val, share of the teacher's gap
    assert "teacher 1 – – – – – – 64.20 100 %" in text
    assert "this teacher: the teacher has 64.2 mIoU" in text
    assert "runs/trial_0005 loss is NaN at iteration 12" in text
    assert text.count("runs/") == 25
    assert "training 90.0 s 45.0 %" in text
    assert "total 200.0 s 100.0 %" in text
    assert "teacher 300.0 s apart" in text


def test_the_choice_and_where_its_trials_came_from(build_run: Build, tmp_path: Path) -> None:
    searched = (("baseline", "pkd", 60.0), ("trial", "by_hand", 62.5), ("trial", "trial", 61.0))
    runs = [
        build_run(f"t{i}", phase=phase, method=method, trial=i, value=v, parameters={"w": v})
        for i, (phase, method, v) in enumerate(searched)
    ]
    known: dict[str, Any] = {"phase": "rung", "method": "rung"}
    for trial, values in enumerate(((60.5, 61.5), (50.0, 51.0), (55.0, 57.0))):
        runs += [
            build_run(f"r{trial}_{i}", trial=trial, seed=1900 + i, value=v, **known)
            for i, v in enumerate(values)
        ]
    for seed in (0, 1):
        final = {"phase": "final", "seed": seed}
        runs.append(build_run(f"s{seed}", method="student_alone", test=20.0, **final))
        known = {"value": 60.0, "test": 50.0 + seed, "parameters": {"w": 60.0}}
        runs.append(build_run(f"f{seed}", method="pkd", **known, **final))
    text = text_of(page := page_of(write_report(tmp_path, results_table(runs))))
    assert "Trial 0 (arm pkd) was chosen by the best mean over the rung's fresh seeds: " in text
    assert "60 at the search's seed, 61 over 2 seeds of the rung, 60 over 2 final seeds" in text
    assert "0 arm pkd w=60 60.00 61.00 (n=2) 60.00 (n=2)" in text
    assert "2 sampled w=61 61.00 56.00 (n=2) –" in text
    assert "1 start point by_hand set by hand w=62.5 62.50 50.50 (n=2) –" in text
    assert page.count('<span class="tag">set by hand</span>') == 2
    assert "pkd = tuned 2 50.50" in text
    assert "the search chose pkd itself, so tuned is pkd" in text
    assert "3 trials (3 complete)" in text
    assert page.count('class="chosen"') == 2  # among the candidates and among the runs


def test_figures_and_pictures(page: str, study_dir: Path) -> None:
    ids = set(re.findall(r'id="plot-([\w-]+)"', page))
    assert ids >= {"result", "curves", "profile-0", "gap-0"}
    assert ids >= {"history", "importance", "parallel"}
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 3  # the student alone has none
    newest = RunDir(study_dir / "runs" / "final_tuned_100").picture(200, "fourier_0")
    assert base64.b64decode(pictures[0]) == newest.read_bytes()


def test_spectra_say_what_they_are(page: str) -> None:
    text = text_of(page)
    layers = "student layer4, teacher layer4; mean over 4 training images"
    (caption,) = re.findall(rf"fourier_0 (.+?): {layers}", text)  # one for all, as it is the same
    assert set(caption.split(", ")) == {"tuned", "published", "feature_l2"}
    assert "fractions of the Nyquist frequency" in text
    assert "(E_T - E_S) / (E_T + E_S)" in text
    assert "above 0 the student lacks energy" in text
    assert "cycles per pixel" not in page


def test_nothing_is_loaded_or_sent(page: str) -> None:
    assert "://" not in page
    assert not re.search(r"<(link|iframe|object|embed|form|img src=\"[^d])", page)
    assert "default-src 'none'" in page
    assert "form-action 'none'" in page
    assert "sendChartToCloud" not in page
    buttons = '"modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]]'
    assert page.count(buttons) == 1
    assert page.count('class="figure"') == page.count('<script type="application/json">') > 5
    assert "MathJax" not in page


def test_plotly_is_inlined_once(study_dir: Path, study_runs: list[RunDir]) -> None:
    path = write_report(study_dir, results_table(study_runs), None, INFO)
    assert path.read_text().count(get_plotlyjs()) == 1
    assert path.stat().st_size < 6e6


def test_the_given_study_is_shown(study_dir: Path, study_runs: list[RunDir]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = results_table(study_runs)
    study = study_from_table(table)
    study.add_trial(optuna.create_trial(value=77.5))
    text = text_of(page_of(write_report(study_dir, table, {None: study}, {})))
    assert (
        "13 trials (10 complete, 2 pruned, 1 fail). Best at the search's seed: trial 12, mIoU 77.5"
        in text
    )


def test_text_from_runs_is_escaped(build_run: Build, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    runs = [
        build_run(f"{i}_{seed}", phase="final", method=method, seed=seed, test=30.0 + seed)
        for i, method in enumerate(("student_alone", evil))
        for seed in (0, 1)
    ]
    page = page_of(write_report(tmp_path, results_table(runs)))
    assert "<script>alert(1)" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_single_runs_without_a_study(build_run: Build, tmp_path: Path) -> None:
    runs = [build_run("seg_a"), build_run("seg_b", value=33.0)]
    page = page_of(write_report(tmp_path, results_table(runs), None, {"title": "Two runs"}))
    text = text_of(page)
    assert "Nothing is compared yet: there is no run of phase final." in text
    assert "Nothing was tuned." in text
    assert "No run shown here has saved spectra" in text
    assert '"name":"seg_a"' in page  # one curve per folder, as the method and seed are the same
    assert '"name":"seg_b"' in page


def test_before_the_first_validation(build_run: Build, tmp_path: Path) -> None:
    runs = [
        build_run("t0", phase="trial", trial=0, state=None, rows=[{"iter": 1, "train/loss": 1.0}]),
        build_run("t1", phase="trial", trial=1, state="failed", value=None, reason="<no GPU>"),
    ]
    text = text_of(page_of(write_report(tmp_path, results_table(runs))))
    assert "2 runs: 1 running, 1 failed" in text
    assert "No trial is complete yet." in text
    assert "Importance needs two complete trials" in text
    assert "Parallel coordinates need two complete trials" in text
    assert "<no GPU>" in text


def test_no_run_at_all(tmp_path: Path) -> None:
    text = text_of(page_of(write_report(tmp_path, results_table([]))))
    assert "no runs yet" in text
    assert "There is no run yet." in text


def test_finals_without_the_baseline(build_run: Build, tmp_path: Path) -> None:
    runs = [build_run("f", phase="final", method="tuned", test=30.0)]
    text = text_of(page_of(write_report(tmp_path, results_table(runs))))
    assert "no final run of the baseline student_alone (there are: tuned)" in text


def test_the_best_trial_is_drawn_before_there_are_finals(
    build_run: Build, draw_spectra: Callable[..., None], tmp_path: Path
) -> None:
    known = {"phase": "trial", "method": "trial"}
    runs = [
        build_run(f"t{i}", trial=i, value=v, parameters={"w": v}, **known)
        for i, v in enumerate((30.0, 35.0, 20.0))
    ]
    for run in runs:
        draw_spectra(run, 200, tilt=2.0)
    page = page_of(write_report(tmp_path, results_table(runs)))
    assert page.count("data:image/png") == 1
    assert "Best at the search's seed: trial 1, mIoU 35 on val with w=35." in text_of(page)


def test_damaged_arrays_are_named_and_the_rest_is_shown(
    build_run: Build, draw_spectra: Callable[..., None], tmp_path: Path
) -> None:
    runs = [build_run(m, phase="final", method=m, test=30.0) for m in ("published", "tuned")]
    for run in runs:
        draw_spectra(run, 200, tilt=2.0)
    runs[1].picture(200, "fourier_0", ".npz").write_bytes(b"cut")
    page = page_of(write_report(tmp_path, results_table(runs)))
    text = text_of(page)
    assert re.search(r"No profile of tuned: .*spectra_000200_fourier_0\.npz is not a read", text)
    assert 'id="plot-profile-0"' in page
    assert page.count("data:image/png") == 2


def test_all_final_runs_failed(build_run: Build, tmp_path: Path) -> None:
    known = {"phase": "final", "state": "failed", "value": None, "reason": "disk full"}
    runs = [
        build_run(m, method=m, test_split="test", metric=None, **known)
        for m in ("student_alone", "tuned")
    ]
    text = text_of(page_of(write_report(tmp_path, results_table(runs), None, {"metric": "mIoU"})))
    assert "tuned has no verdict against student_alone (0 paired seeds)" in text
    assert "missing seeds: 0 (failed: disk full)" in text
    assert "nan" not in text


def test_importing_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, fourierkd.analysis.report, fourierkd.analysis;"
        "heavy = {'torch', 'mmengine', 'plotly', 'optuna', 'jinja2', 'rich', 'matplotlib'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_classes_of_the_methods(build_run: Build, tmp_path: Path) -> None:
    """Beside a teacher that has none, and a class with markup for a name."""
    runs = [build_run("teacher", phase="teacher", method="teacher", value=64.0)]
    for method, gain in (("student_alone", 0.0), ("pkd", 6.0), ("cwd", 1.0)):
        for seed in range(4):
            near, more = 30.0 + 0.4 * seed, gain * (1 + 0.02 * seed)
            of = {"zebra": near + more, "<b>&": near - more}
            known = {"phase": "final", "method": method, "seed": seed}
            test = 30.0 + gain + 0.1 * seed
            classes = {"val": of, "test": of | {"far": None}}
            runs.append(build_run(f"{method}_{seed}", test=test, classes=classes, **known))
    page = page_of(write_report(tmp_path, results_table(runs)))
    text = text_of(page)
    assert "Against student_alone, pkd helps 1 and harms 1 of 2 classes in IoU (test); " in text
    assert "helped most: zebra +6.18 [" in text
    assert "harmed most: <b>& -6.18 [" in text
    assert "<b>&" not in page.partition("<h2>Classes")[2].partition("<script")[0]
    assert "class student_alone pkd cwd zebra 30.60 36.78 +6.18 [" in text
    assert "far – – –" not in text  # no run of any method has it
    assert 'id="plot-classes"' in page
    assert "by Holm" in text.partition("of the checkpoint that is best by mIoU")[2]


def test_without_scores_of_classes_there_is_no_such_section(page: str) -> None:
    assert "<h2>Classes" not in page
