"""Several processes: one result, one writer, one end; and it is that of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.engine.ranks import first_host, launched, slurm_environment
from fourierkd.errors import ConfigError
from fourierkd.run_dir import RunDir
from tests.engine.conftest import assert_same

HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
TRAIN = ["-m", "fourierkd", "train", str(HERE / "toy_config.py"), "--wandb", "disabled"]
# Nothing may depend on which rank an image is on: no augmentation, no noise, BatchNorm fixed.
DISTILLED = [
    "train_dataloader.dataset.augment=False",
    "model.student={'type': 'ToyModel', 'norm_eval': True}",
    "model.teacher={'model': {'type': 'ToyModel', 'width': 6}, 'checkpoint': 'random'}",
    "model.losses={'fourier': {'student_tap': 'features', 'teacher_tap': 'features', 'loss': "
    "{'type': 'FourierLoss', 'loss_weight': 2.0, 'noise': False, 'sync_stats': True}}}",
    # a few small steps: phases of near-zero amplitudes make rounding grow from step to step
    "optim_wrapper.optimizer={'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}",
    "train_cfg.max_iters=6",
    "train_cfg.val_interval=2",
    "default_hooks={'scalars': {'type': 'ScalarsHook', 'interval': 1}}",
]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MASTER"))}
    return {"OMP_NUM_THREADS": "1", **keep, "PYTHONPATH": path}


def launch(folder: Path, *arguments: str, launcher: list[str] = TORCHRUN) -> subprocess.Popen:
    return subprocess.Popen(
        [*launcher, *TRAIN, "--launcher", "pytorch", "--work-dir", "run", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen, seconds: float = 240) -> tuple[int, str]:
    """Exit code and output; a hang is a failure, and a busy machine none."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun then ends its ranks; killed, it would leave them running
        process.wait(60)
        raise
    finally:
        process.kill()
    return process.returncode, output


def train_one(folder: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: PLW1510 - its output is in the message
        [sys.executable, *TRAIN, "--work-dir", "run", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


def event(folder: Path, kind: str, rank: int = 1, at: int = 5) -> str:
    mark = str(folder / "mark")
    hook = {"type": "RankEvent", "rank": rank, "at": at, "mark": mark, "event": kind}
    return f"custom_hooks={[hook]}"


def last_state(run_dir: RunDir) -> dict:
    return load_checkpoint(run_dir.last_checkpoint())


def files(run_dir: RunDir) -> set[str]:
    return {str(p.relative_to(run_dir.path)) for p in run_dir.path.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """A run of two ranks with batches of 3, scored on the test split at its end."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "mark").touch()  # the hook of the killed run, which does nothing here
    options = [*DISTILLED, event(folder, "die")]
    code, output = end(launch(folder, "--test-split", "test", "--cfg-options", *options))
    assert code == 0, output
    return RunDir(folder / "run"), output


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """The same of one process with batches of 6."""
    folder = tmp_path_factory.mktemp("one")
    train_one(
        folder,
        *("--test-split", "test"),
        *("--cfg-options", *DISTILLED, "train_dataloader.batch_size=6", "custom_hooks=[]"),
    )
    return RunDir(folder / "run")


def test_two_ranks_equal_one_with_the_doubled_batch(two_ranks, one_rank):
    two, one = two_ranks[0], one_rank
    assert two.read_result().state == one.read_result().state == "complete"
    ours, theirs = last_state(two)["state_dict"], last_state(one)["state_dict"]
    assert ours.keys() == theirs.keys()  # no prefix of a wrapper, no teacher
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-5)
    losses = [r["train/loss"] for r in one.rows() if "train/loss" in r]
    assert len(losses) == 6
    assert losses[0] > 1.01 * losses[-1]  # it learns
    for a, b in zip(two.rows(), one.rows(), strict=True):
        assert a["iter"] == b["iter"]
        for key in set(a) | set(b):
            if key.startswith(("train/", "val/")):
                assert a[key] == pytest.approx(b[key], rel=1e-5), key
    assert two.read_result().metrics == pytest.approx(one.read_result().metrics, rel=1e-5)


def test_only_rank_0_writes_and_speaks(two_ranks, one_rank):
    two, output = two_ranks
    assert files(two) == files(one_rank)
    rows = [json.loads(line) for line in two.scalars.read_text().splitlines()]
    kinds = [(row["iter"], next(k for k in row if "/" in k).split("/")[0]) for row in rows]
    assert len(kinds) == len(set(kinds)) == 6 + 3 * 3  # train; val, ledger and spectra at 2, 4, 6
    assert output.count("training in") == output.count("complete after") == 1
    assert json.loads(two.environment.read_text())["ranks"] == 2
    assert two.log.read_text().count("iter 6/6") == 1


def test_two_ranks_count_every_pixel_of_a_class_once(tmp_path):
    """Eleven images: one rank sees one of them twice."""
    evaluator = "{'type': 'mmseg.IoUMetric', 'iou_metrics': ['mIoU']}"
    options = ["train_cfg.max_iters=2", "train_cfg.val_interval=1", "metric=mIoU"]
    options += [f"val_evaluator={evaluator}", "val_dataloader.dataset.length=11"]
    code, output = end(launch(tmp_path, "--cfg-options", *options))
    assert code == 0, output
    run_dir = RunDir(tmp_path / "run")
    rows = [json.loads(line) for line in run_dir.classes.read_text().splitlines()]
    assert [(row["iter"], row["split"]) for row in rows] == [(1, "val"), (2, "val")]
    with np.load(run_dir.class_arrays("val"), allow_pickle=False) as arrays:
        matrix, best = arrays["confusion"], int(arrays["iter"])
    assert matrix.sum() == 11 * 12 * 12
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    found = run_dir.class_rows("val")[best]["scores"]["IoU"]
    assert found == pytest.approx(100 * matrix.diagonal() / union, rel=1e-5)


@pytest.mark.slow
def test_killed_rank_ends_the_run_which_resumes_to_the_same_end(two_ranks, tmp_path):
    whole = two_ranks[0]
    options = [*DISTILLED, event(tmp_path, "die")]
    arguments = ("--test-split", "test", "--cfg-options", *options)
    start = time.monotonic()
    code, output = end(launch(tmp_path, *arguments))
    assert code != 0
    assert time.monotonic() - start < 120
    run_dir = RunDir(tmp_path / "run")
    assert run_dir.last_checkpoint().name == "iter_4.pth"
    result = run_dir.read_result()
    assert result.state == "failed"
    assert "another process of the run ended without a word" in result.reason, output

    code, output = end(launch(tmp_path, "--resume"))
    assert code == 0, output
    assert run_dir.read_result().state == "complete"
    ours, theirs = last_state(run_dir), last_state(whole)
    for part in ("state_dict", "random_state"):
        assert_same(ours[part], theirs[part], part)
    curve = [r["train/loss"] for r in run_dir.rows() if "train/loss" in r]
    assert curve == [r["train/loss"] for r in whole.rows() if "train/loss" in r]
    states = ours["random_state"]
    assert len(states) == 2
    assert not torch.equal(states[0]["torch"], states[1]["torch"])


@pytest.mark.slow
def test_two_ranks_resume_amid_an_accumulation(tmp_path):
    """The mean of the ranks' waiting gradients is saved, of which DDP makes the same step."""
    options = [o for o in DISTILLED if not o.startswith(("model.teacher", "model.losses"))]
    options += ["optim_wrapper.accumulative_counts=3"]
    states = {}
    for name in ("whole", "cut"):
        folder = tmp_path / name
        folder.mkdir()
        (tmp_path / "whole" / "mark").touch()
        code, output = end(launch(folder, "--cfg-options", *options, event(folder, "die")))
        if name == "cut":
            assert code != 0
            cut = RunDir(folder / "run")
            waiting = last_state(cut)["gradients"]
            assert cut.last_checkpoint().name == "iter_4.pth"  # one after the first step
            assert any(g.abs().max() > 0 for g in waiting.values())
            code, output = end(launch(folder, "--resume"))
        assert code == 0, output
        states[name] = last_state(RunDir(folder / "run"))["state_dict"]
    for key, value in states["whole"].items():
        torch.testing.assert_close(states["cut"][key], value, rtol=1e-6, atol=1e-7)


def test_failure_of_one_rank_is_the_reason_of_the_run(tmp_path):
    code, output = end(launch(tmp_path, "--cfg-options", event(tmp_path, "fail", at=7)))
    assert code != 0
    result = RunDir(tmp_path / "run").read_result()
    assert result.state == "failed"
    assert "rank 1 failed: a sample of this rank cannot be read, got 'shard.tar'" in (
        result.reason
    ), output
    assert "rank 1 failed: a sample of this rank" in output


def test_bad_input_ends_all_ranks_with_one_message(tmp_path):
    code, output = end(launch(tmp_path, "--cfg-options", "model.student.type=ToyModle"))
    assert code != 0
    assert output.count("the student cannot be built: unknown type") == 1, output
    assert output.count("Traceback") == 1  # torchrun's own, that its processes failed
    assert output.count("exitcode  : 2") >= 1
    assert not (tmp_path / "run").exists()


def test_torchruns_sigterm_stops_all_ranks_with_a_checkpoint(tmp_path):
    process = launch(
        tmp_path,
        "--cfg-options",
        "train_cfg.max_iters=100000",
        "train_cfg.val_interval=10",
        "custom_hooks=[{'type': 'Slow', 'seconds': 0.01}]",
    )
    run_dir = RunDir(tmp_path / "run")
    deadline = time.monotonic() + 120
    while run_dir.last_checkpoint() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, output = end(process)
    result = run_dir.read_result()
    assert (result.state, result.reason) == ("stopped", "signal SIGTERM"), output
    assert run_dir.last_checkpoint() == run_dir.checkpoint(result.iters)
    assert last_state(run_dir)["meta"]["ranks"] == 2


def test_a_run_is_resumed_with_as_many_processes(two_ranks, make_run):
    from fourierkd.engine.run import run
    from fourierkd.errors import CheckpointError

    whole = two_ranks[0]
    copy = make_run("copy")
    copy.checkpoints.mkdir()
    source = whole.last_checkpoint()
    (copy.checkpoints / source.name).write_bytes(source.read_bytes())
    (copy.checkpoints / "last_checkpoint").write_text(source.name)
    with pytest.raises(CheckpointError, match=r"as many processes as it had \(2\), got 1"):
        run(copy, resume=True)


SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODELIST": "gpu[003-004]",
    "SLURM_JOB_ID": "41234",
    "SLURM_CPUS_PER_TASK": "6",
}


def test_slurm_environment_becomes_torchruns():
    assert slurm_environment(SLURM) == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu003",
        "MASTER_PORT": "21234",
        "OMP_NUM_THREADS": "6",
    }
    given = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "OMP_NUM_THREADS": "2"}
    found = slurm_environment({**SLURM, **given, "SLURM_STEP_NODELIST": "gpu004"})
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("10.0.0.1", "29500")
    assert "OMP_NUM_THREADS" not in found
    with pytest.raises(ConfigError, match="SLURM_LOCALID is not set.*srun"):
        slurm_environment({k: v for k, v in SLURM.items() if k != "SLURM_LOCALID"})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("login1", "login1"),
        ("gpu[003-005,9],login1", "gpu003"),
        ("a[7,9]", "a7"),
        ("rack[1-2]node[04-05]", "rack1node04"),
        ("n1,n[2-3]", "n1"),
        ("gpu[1-2].cluster.org", "gpu1.cluster.org"),
    ],
)
def test_first_host_of_a_node_list(nodes, host):
    assert first_host(nodes) == host


def test_launchers_name_what_is_missing(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ConfigError, match="needs torchrun's environment.*torchrun --nproc"),
        launched("pytorch"),
    ):
        pass
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="add --launcher pytorch"), launched("none"):
        pass
    monkeypatch.setenv("RANK", "1")  # it leaves the word to rank 0
    with pytest.raises(SystemExit) as ended, launched("none"):
        pass
    assert ended.value.code == 2


@pytest.mark.slow
def test_two_tasks_of_a_slurm_step_train_one_run(tmp_path):
    """srun's variables, without Slurm: what it sets is all that the launcher reads."""
    tasks = []
    for rank in range(2):
        env = {
            **environment(),
            **SLURM,
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "SLURM_NTASKS": "2",
            "SLURM_NODELIST": "localhost",
        }
        command = [sys.executable, *TRAIN, "--launcher", "slurm", "--work-dir", "run"]
        tasks.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [end(task) for task in tasks]
    assert [code for code, _ in outputs] == [0, 0], outputs
    assert RunDir(tmp_path / "run").read_result().state == "complete"
    assert outputs[1][1] == ""
