"""Runs as jobs of Slurm: what is sent, and what of a Slurm of two nodes when parts of it die."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from slurm_cluster import Cluster, wait_for, why_not

from fourierkd.errors import ConfigError, StudyError
from fourierkd.records import Metric, Request, Result, State
from fourierkd.run_dir import RunDir
from sweeps.account import Account
from sweeps.driver import Driver, Interrupted, stop_on_signals
from sweeps.executors import slurm
from sweeps.executors.base import End, Needs
from sweeps.executors.slurm import SlurmExecutor, job_name, options_of, sbatch
from sweeps.progress import Display
from sweeps.runs import Run

HERE = Path(__file__).parent
PROGRAM = (sys.executable, str(HERE / "fake_job.py"))


def executed(run: RunDir) -> list[int]:
    """Iterations in the order in which they were trained, over all jobs."""
    path = run.path / "executed.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def engine(folder: Path, **options: str) -> SlurmExecutor:
    return SlurmExecutor(
        {"time": "10", **options},
        log=folder / "worker.log",
        program=PROGRAM,
        interval=0.5,
        settle=5.0,
    )


def make_run(path: Path, **options: object) -> RunDir:
    options = {key.replace("__", "."): value for key, value in options.items()}
    return RunDir(path).create(Request(config="", options=options, seed=0))


def drive(
    folder: Path, names: Sequence[str], jobs: int = 4, executor: SlurmExecutor | None = None, **fake
) -> tuple[dict[str, Result], str]:
    """What a study does, without Optuna: results by name, and what the person saw."""
    results: dict[str, Result] = {}
    display = Display(Metric("score"), Console(file=io.StringIO(), width=300))
    executor = executor or engine(folder)
    driver = Driver(executor, display, Account(), needs=Needs(cpus=1))
    request = Request(config="", options={f"fake.{k}": v for k, v in fake.items()}, seed=0)
    runs = [
        Run(
            RunDir(folder / name), request, name, lambda result, n=name: results.update({n: result})
        )
        for name in names
    ]
    try:
        with stop_on_signals(driver):
            driver.drive(iter(runs), jobs)
    except Interrupted:
        executor.close(detach=True)
    finally:
        executor.close()
    return results, display.console.file.getvalue()


def wait_ends(executor: SlurmExecutor, count: int, seconds: float = 120.0) -> list[End]:
    ends: list[End] = []
    end = time.monotonic() + seconds
    while len(ends) < count:
        assert time.monotonic() < end
        ends += executor.poll(0.5)
    return ends


# What is sent


def test_a_job_is_sent_with_what_its_run_needs(tmp_path):
    needs = Needs(cpus=4, gpus=1, memory="16G", hours=1.51)
    options = options_of(["partition=gpu", "exclusive", "time=5"])
    command = sbatch("name", ["python", "a b"], tmp_path / "run.log", needs, options)
    assert command[0] == "sbatch"
    for flag in (
        *("--job-name=name", "--partition=gpu", "--exclusive", "--time=91", "--mem=16G"),
        *("--gpus-per-node=1", "--cpus-per-task=4", "--requeue", "--open-mode=append"),
        *(f"--output={tmp_path}/run.log", "--export=ALL,OMP_NUM_THREADS=4,MKL_NUM_THREADS=4"),
    ):
        assert flag in command, flag
    assert command[-1] == "--wrap=exec srun --ntasks=1 --cpus-per-task=4 python 'a b'"
    plain = sbatch("name", [], tmp_path, Needs(cpus=1, gpus=0), options_of(["time=5"]))
    assert "--time=5" in plain
    assert not [flag for flag in plain if flag.startswith(("--gpus", "--mem"))]


def test_a_folder_has_one_name_by_whatever_path(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    names = [job_name(tmp_path / name) for name in ("a", "link", "b")]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("-p", "--slurm takes long options of sbatch, got '-p'; e.g. partition=gpu time=480"),
        ("array=1-9", "this option is set by the study itself, got 'array'"),
        ("cpus-per-task=4", "this option is set by the study itself"),
    ],
)
def test_an_option_that_is_none_is_named(item, message):
    with pytest.raises(ConfigError) as error:
        options_of([item])
    assert message in str(error.value)


def test_a_job_has_threads_and_an_end(tmp_path):
    executor = SlurmExecutor({}, log=tmp_path / "log")
    with pytest.raises(ConfigError, match="per_run.cpus says.*--set per_run.cpus=4"):
        executor.start(Needs(), 1)
    with pytest.raises(ConfigError, match="a Slurm job needs a time limit; --slurm time=480"):
        executor.start(Needs(cpus=1), 1)


def test_without_slurm_the_study_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StudyError, match="needs Slurm's commands, got 'sbatch'"):
        engine(tmp_path).start(Needs(cpus=1), 1)


# What Slurm says, by stand-ins for its commands


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Write stand-ins for Slurm's commands; each call is a line of ``calls``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")  # of a job that the study itself runs in

    def write(name: str, script: str) -> None:
        new = folder / f"{name}.new"
        new.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\ncd {tmp_path}\n{script}\n'
        )
        new.chmod(0o755)
        new.rename(folder / name)

    for name in ("sbatch", "squeue", "scancel"):
        write(name, "exit 0")
    return write


def calls(folder: Path, name: str) -> list[str]:
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line.startswith(name)]


def test_what_slurm_refuses_ends_the_study_in_one_line(commands, tmp_path):
    commands("sbatch", "echo 'sbatch: error: invalid partition specified: gpuu' >&2; exit 1")
    executor = engine(tmp_path)
    executor.start(Needs(cpus=1), 1)
    executor.submit(make_run(tmp_path / "a"), resume=False)
    with pytest.raises(StudyError, match=r"refuses a job \(sbatch: error: invalid partition.*gpuu"):
        wait_ends(executor, 1, seconds=20)
    executor.close()


def test_a_job_that_was_sent_without_an_answer_is_not_sent_twice(commands, tmp_path):
    """The controller took it and then was away; a second one would train beside it."""
    run = make_run(tmp_path / "a")
    name = job_name(run.path)
    commands("sbatch", "echo 'Unable to contact slurm controller' >&2; exit 1")
    commands("squeue", f"echo '7|PENDING|Priority||{name}'")
    executor = engine(tmp_path)
    executor.start(Needs(cpus=1), 1)
    assert executor.alive([make_run(tmp_path / "other")]) == set()
    executor._answer = slurm.Answer(0.0, ())  # as if the controller had not known the job then
    executor.submit(run, resume=False)
    wait_for(lambda: executor.poll(0.1) == [] and executor.waiting() == {run.path: "Priority"}, 20)
    assert len(calls(tmp_path, "sbatch")) == 1
    commands("squeue", "exit 0")  # known no more
    (end,) = wait_ends(executor, 1, seconds=20)
    assert (end.verdict, end.words) == ("ended", "Slurm knows its job no more (Slurm job 7)")
    executor.close()


def test_a_controller_that_is_away_takes_the_job_later(commands, tmp_path):
    commands("sbatch", "echo 'Unable to contact slurm controller' >&2; exit 1")
    executor = engine(tmp_path)
    executor.start(Needs(cpus=1), 1)
    run = make_run(tmp_path / "a")
    executor.submit(run, resume=False)
    away = {run.path: "Unable to contact slurm controller"}
    wait_for(lambda: executor.poll(0.1) == [] and executor.waiting() == away, 20)
    commands("squeue", f"echo '9|RUNNING|None|n1|{job_name(run.path)}'")
    commands("sbatch", "env > environment; echo 9")
    wait_for(lambda: executor.poll(0.1) == [] and executor.waiting() == {}, 20)
    assert executor.alive([run]) == {run.path}
    executor.close(detach=True)
    assert not calls(tmp_path, "scancel")


def test_silence_is_no_end_and_holds_nobody_up(commands, tmp_path, monkeypatch):
    run = make_run(tmp_path / "a")
    commands("squeue", f"echo '9|RUNNING|None|n1|{job_name(run.path)}'")
    executor = engine(tmp_path)
    executor.start(Needs(cpus=1), 1)
    assert executor.alive([run]) == {run.path}
    executor.submit(run, resume=True)
    commands("squeue", "sleep 3; exit 1")
    start = time.monotonic()
    for _ in range(4):
        assert executor.poll(0.5) == []
    assert time.monotonic() - start < 3.5
    assert not calls(tmp_path, "sbatch")  # it was taken over
    commands("squeue", f"echo '9|OUT_OF_MEMORY|None|n1|{job_name(run.path)}'")
    (end,) = wait_ends(executor, 1, seconds=30)
    assert (end.verdict, end.words) == (
        "memory",
        "it needed more memory than its job had (Slurm job 9 on n1)",
    )
    executor.close()


def test_a_slurm_that_never_answers_is_named(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "PATIENCE", 1.0)
    commands("squeue", "echo 'squeue: error: no such cluster' >&2; exit 1")
    executor = engine(tmp_path)
    with pytest.raises(StudyError, match=r"within 1 s \(squeue: error: no such cluster\); see"):
        executor.alive([make_run(tmp_path / "a")])
    executor.close()


@pytest.mark.parametrize("state", ["COMPLETING", "COMPLETED", "NODE_FAIL"])
def test_a_job_that_is_about_to_be_gone_is_not_taken_over(commands, tmp_path, state):
    run = make_run(tmp_path / "a")
    commands("squeue", f"echo '9|{state}|None|n1|{job_name(run.path)}'")
    executor = engine(tmp_path)
    assert executor.alive([run]) == set()
    executor.close()


def test_one_squeue_asks_for_all_and_as_often_as_said(commands, tmp_path):
    runs = [make_run(tmp_path / f"r{i}") for i in range(20)]
    lines = "\n".join(f"echo '{i}|RUNNING|None|n1|{job_name(r.path)}'" for i, r in enumerate(runs))
    commands("squeue", lines)
    executor = engine(tmp_path)
    assert executor.alive(runs) == {run.path for run in runs}
    executor.start(Needs(cpus=1), 20)
    for run in runs:
        executor.submit(run, resume=True)
    for _ in range(20):
        assert executor.poll(0.1) == []
    assert 1 <= len(calls(tmp_path, "squeue")) <= 6  # 2 s, every 0.5 s
    executor.close()
    assert len(calls(tmp_path, "scancel")) == 20


# A real Slurm


@pytest.fixture(scope="module")
def slurm_of_two(tmp_path_factory):
    if (why := why_not()) is not None:
        pytest.skip(why)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(slurm_of_two, monkeypatch):
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm_of_two.environment[name])
    before = {number for number, *_ in slurm_of_two.jobs()}
    slurm_of_two.new_jobs = lambda: [job for job in slurm_of_two.jobs() if job[0] not in before]
    return slurm_of_two


def test_runs_are_trained_one_job_each(cluster, tmp_path):
    results, _ = drive(tmp_path, ["a", "b", "c"])
    assert {result.state for result in results.values()} == {State.COMPLETE}
    assert len(cluster.new_jobs()) == 3
    for name in "abc":
        assert executed(RunDir(tmp_path / name)) == list(range(1, 11))


def test_requests_are_answered_by_a_job(cluster, tmp_path):
    path = tmp_path / "check.json"
    path.write_text(json.dumps({"a": {"options": {"fake.refuse": "no such loss"}}}))
    executor = engine(tmp_path)
    executor.start(Needs(cpus=1), 1)
    executor.ask("check", path)
    (end,) = wait_ends(executor, 1)
    executor.close()
    assert (end.run, end.verdict) == (path, "ended")
    assert json.loads(path.with_name("check.json.answer").read_text())["error"] == "no such loss"


def test_what_waits_says_why_and_ctrl_c_leaves_all(cluster, tmp_path):
    """The next process takes over what runs and what waits, and sends nothing twice."""
    names = [f"r{i}" for i in range(6)]
    first = engine(tmp_path)
    first.start(Needs(cpus=1), 6)
    runs = [make_run(tmp_path / name, fake__sleep=0.3) for name in names]
    for run in runs:
        first.submit(run, resume=False)
    wait_for(lambda: first.poll(0.1) == [] and "Resources" in first.waiting().values())
    first.close(detach=True)
    results, _ = drive(tmp_path, names, jobs=6, sleep=0.3)
    assert {result.state for result in results.values()} == {State.COMPLETE}
    assert len(cluster.new_jobs()) == 6
    assert all(executed(run) == list(range(1, 11)) for run in runs)


def test_who_cancels_a_job_wants_no_other(cluster, tmp_path):
    cancelled = []

    class Cancelling(SlurmExecutor):
        def poll(self, timeout: float) -> list[End]:
            if not cancelled and len(executed(RunDir(tmp_path / "a"))) > 2:
                cancelled.append(cluster.call("scancel", "--name", job_name(tmp_path / "a")))
            return super().poll(timeout)

    executor = Cancelling({"time": "5"}, log=tmp_path / "log", program=PROGRAM, interval=0.5)
    results, _ = drive(tmp_path, ["a"], executor=executor, sleep=0.3)
    assert results["a"].state == State.FAILED
    assert results["a"].reason.startswith("Cancelled: its job was cancelled (Slurm job ")
    assert len(cluster.new_jobs()) == 1


def in_between(cluster, folder: Path, names: list[str], act, **fake) -> tuple[dict, str]:
    """Drive, and act once when each run has trained four iterations or so."""
    acted = []

    class Acting(SlurmExecutor):
        def poll(self, timeout: float) -> list[End]:
            if not acted and all(len(executed(RunDir(folder / name))) >= 4 for name in names):
                acted.append(True)
                act()
            return super().poll(timeout)

    executor = Acting({"time": "10"}, log=folder / "log", program=PROGRAM, interval=0.5, settle=5.0)
    found = drive(folder, names, executor=executor, **fake)
    assert acted
    return found


@pytest.mark.slow
def test_runs_that_are_preempted_save_and_go_on(cluster, tmp_path):
    names = ["a", "b", "c", "d"]

    def preempt() -> None:
        for _ in range(2):
            cluster.call(
                *("sbatch", "--partition=high", "--time=1", "--nodes=1", "--exclusive"),
                *("--output=/dev/null", "--wrap=sleep 3"),
            )

    results, _ = in_between(cluster, tmp_path, names, preempt, sleep=3.0)
    assert {result.state for result in results.values()} == {State.COMPLETE}
    for name in names:
        run = RunDir(tmp_path / name)
        assert executed(run) == list(range(1, 11)), name  # it was saved where it was
        assert [row for row in run.tail()[0] if row.get("event") == "resume"], name


@pytest.mark.slow
def test_a_controller_that_is_away_for_a_while_ends_nothing(cluster, tmp_path):
    names, away = ["a", "b"], []

    class Returning(SlurmExecutor):
        def poll(self, timeout: float) -> list[End]:
            if not away and all(len(executed(RunDir(tmp_path / name))) >= 2 for name in names):
                cluster.kill("slurmctld")
                away.append(time.monotonic())
            if "slurmctld" not in cluster.processes and time.monotonic() - away[0] > 20:
                cluster.start_controller()
            return super().poll(timeout)

    executor = Returning(
        {"time": "10"}, log=tmp_path / "log", program=PROGRAM, interval=0.5, settle=5.0
    )
    results, said = drive(tmp_path, names, executor=executor, sleep=0.5)
    assert time.monotonic() - away[0] > 20
    assert {result.state for result in results.values()} == {State.COMPLETE}
    assert all(executed(RunDir(tmp_path / name)) == list(range(1, 11)) for name in names)
    assert "going on" not in said
    assert len(cluster.new_jobs()) == 2


@pytest.mark.slow
def test_a_run_whose_node_is_lost_goes_on_elsewhere(cluster, tmp_path):
    lost = []

    def lose() -> None:
        (job,) = [job for job in cluster.new_jobs() if job[1] == "RUNNING"]
        lost.append(job[2])
        cluster.kill(job[2])

    class Hurried(SlurmExecutor):
        def poll(self, timeout: float) -> list[End]:
            if not lost and len(executed(RunDir(tmp_path / "a"))) >= 5:
                lose()
            if "BeginTime" in self.waiting().values():  # Slurm waits two minutes, we do not
                for number, *_ in cluster.new_jobs():
                    cluster.call("scontrol", "update", f"JobId={number}", "StartTime=now")
            return super().poll(timeout)

    executor = Hurried(
        {"time": "10"}, log=tmp_path / "log", program=PROGRAM, interval=0.5, settle=5.0
    )
    try:
        results, _ = drive(tmp_path, ["a"], executor=executor, sleep=0.5)
    finally:
        cluster.start_node(lost[0])
    assert results["a"].state == State.COMPLETE
    run = RunDir(tmp_path / "a")
    assert sorted(set(executed(run))) == list(range(1, 11))
    assert len(executed(run)) <= 12  # again only what came after its last checkpoint
    assert [row["iter"] for row in run.rows()] == list(range(1, 11))
    assert len(cluster.new_jobs()) <= 2


DRIVE = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
from pathlib import Path
from test_slurm import drive
results, said = drive(Path(sys.argv[1]), sys.argv[2:], sleep=0.2)
assert len(results) == len(sys.argv) - 2, said
assert all(result.state == "complete" for result in results.values()), results
"""


@pytest.mark.slow
def test_killed_at_random_the_study_finds_its_jobs_again(cluster, tmp_path):
    names = [f"r{i}" for i in range(12)]
    code = DRIVE.format(here=str(HERE), root=str(HERE.parents[1]))
    draw, kills, code_of = random.Random(0), 0, None
    while code_of != 0:
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), *names])
        try:
            code_of = process.wait(timeout=draw.uniform(2.0, 5.0) if kills < 5 else 180.0)
        except subprocess.TimeoutExpired:
            process.kill()
            code_of, kills = process.wait(), kills + 1
        assert code_of in (0, -signal.SIGKILL)
    assert kills >= 1
    for name in names:
        assert executed(RunDir(tmp_path / name)) == list(range(1, 11)), name
    # a run that had ended when nobody looked is not sent again, one that lives neither
    assert len(cluster.new_jobs()) == len(names)


TOY = """
from sweeps.space import suggest

study = dict(
    name="toy",
    config={config!r},
    metric="acc",
    trials=2,
    rung_trials=0,
    final_seeds=1,
    arms=dict(student_alone={{}}),
    space={{"optim_wrapper.optimizer.lr": suggest.float(0.01, 0.1)}},
    per_run=dict(cpus=1),
    wandb=dict(mode="disabled"),
)
"""


@pytest.mark.slow
def test_a_short_study_by_jobs_is_the_one_of_this_machine(cluster, tmp_path, monkeypatch):
    """Real training, by the command line: the same values to the last digit."""
    root = HERE.parents[1]
    toy = HERE.parent / "engine"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(toy)]))
    study = tmp_path / "toy.py"
    study.write_text(TOY.format(config=str(toy / "toy_config.py")))
    ways = {"here": [], "jobs": ["--executor", "slurm", "--slurm", "time=10", "partition=low"]}
    for name, arguments in ways.items():
        command = [sys.executable, str(root / "sweeps/run.py"), "study", str(study)]
        command += ["--work-dir", str(tmp_path / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
    found = {
        name: {
            path.name: RunDir(path).read_result().metrics
            for path in (tmp_path / name / "runs").iterdir()
        }
        for name in ways
    }
    assert found["here"] == found["jobs"]
    assert len(found["jobs"]) == 4
    assert len(cluster.new_jobs()) == 4 + 1  # and the one that tried all requests
    for path in (tmp_path / "jobs" / "runs").iterdir():
        facts = json.loads(RunDir(path).environment.read_text())
        assert facts["job"].startswith("Slurm job ")
        assert facts["threads"] == 1
