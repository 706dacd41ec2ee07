"""The command line: what a user types, and the one line that answers bad input."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fourierkd.cli import main
from fourierkd.distill.checkpoint import load_checkpoint
from fourierkd.records import single_request
from fourierkd.run_dir import RunDir

ENGINE = Path(__file__).parent / "engine"
ROOT = ENGINE.parent.parent
CONFIG = str(ENGINE / "toy_config.py")
SHAPES = ROOT / "configs/shapes"


@pytest.fixture(autouse=True)
def _toy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ENGINE))
    monkeypatch.chdir(tmp_path)


def call(capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return end.value.code, out, err


def train(capsys, *arguments: object) -> tuple[int, str, str]:
    return call(capsys, "train", CONFIG, "--wandb", "disabled", *arguments)


def refused(answer: tuple[int, str, str]) -> str:
    """The error line of a refused command: last of stderr, with exit code 2 and no traceback."""
    code, _, err = answer
    assert code == 2, err
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert lines[-1].startswith("fourierkd: error: ")
    return lines[-1]


def test_train_test_export_and_resume(capsys):
    code, out, err = train(capsys, "--work-dir", "run", "--seed", 3, "--test-split", "test")
    assert (code, err) == (0, "")
    assert "complete after 20 iterations" in out
    export = "export: fourierkd export run/checkpoints/best.pth --out student.pth"
    assert f"{export} --config run/config.py" in out  # for its custom_imports
    run_dir = RunDir("run")
    assert run_dir.read_request().seed == 3
    assert "iter 20/20" in run_dir.log.read_text()
    best = run_dir.read_result().metrics["test/acc"]

    code, out, _ = call(capsys, "test", CONFIG, "run/checkpoints/best.pth", "--json", "m.json")
    assert code == 0
    assert out == f"test/acc {best:.6g}\n"
    assert json.loads(Path("m.json").read_text()) == {"acc": best}

    code, out, _ = call(capsys, "export", "run/checkpoints/best.pth", "--out", "student.pth")
    assert code == 0
    import torch

    exported = torch.load("student.pth", weights_only=True)
    assert set(exported["state_dict"]) >= {"features.weight", "head.bias"}
    assert exported["meta"]["dataset_meta"]["classes"] == ("off", "on")
    code, out, _ = call(capsys, "test", CONFIG, "student.pth", "--split", "val")
    assert out == f"val/acc {best:.6g}\n"  # the toy tests on its val images

    line = refused(train(capsys, "--work-dir", "run"))
    assert "a work dir holds one run" in line
    code, out, _ = train(capsys, "--work-dir", "run", "--resume")
    assert code == 0
    assert "complete already" in out


def test_test_prints_the_classes_as_a_table(capsys):
    evaluator = "{'type': 'mmseg.IoUMetric', 'iou_metrics': ['mIoU']}"
    options = ("--cfg-options", "metric=mIoU")
    options += tuple(f"{split}_evaluator={evaluator}" for split in ("val", "test"))
    code, _, err = train(capsys, "--work-dir", "run", *options)
    assert (code, err) == (0, "")
    of_run = RunDir("run").read_result().classes["val"]
    best = "run/checkpoints/best.pth"
    code, out, _ = call(capsys, "test", CONFIG, best, "--json", "m.json", *options)
    assert code == 0
    lines = [line.strip("│┃ ").replace("┃", "│").split("│") for line in out.splitlines()]
    cells = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}
    assert cells["class"] == ["IoU", "Acc"]
    written = json.loads(Path("m.json").read_text())
    assert written["classes"]["IoU"] == of_run  # the toy tests on its val images
    for name, value in of_run.items():
        assert cells[name] == [f"{value:.2f}", f"{written['classes']['Acc'][name]:.2f}"]
    assert "test/mIoU" in out
    assert not RunDir("run").class_arrays("test").exists()  # the run is not written to


def test_stopped_run_says_how_to_continue_and_does(capsys):
    stop = 'custom_hooks=[{"type": "StopAt", "at": 8}]'
    code, out, _ = train(capsys, "--work-dir", "run", "--cfg-options", stop)
    assert code == 0
    assert "stopped after 8 iterations" in out
    assert f"continue: fourierkd train {CONFIG} --work-dir run --resume" in out
    line = refused(train(capsys, "--work-dir", "run", "--resume", "--seed", 4))
    assert "a resumed run keeps its seed (0), got 4" in line
    code, out, _ = train(capsys, "--work-dir", "run", "--resume")
    assert "complete after 20 iterations" in out


def test_a_folder_is_trained_as_a_job_and_says_where(capsys, monkeypatch):
    run_dir = RunDir("run").create(single_request(CONFIG, {}, wandb_mode="disabled"))
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert call(capsys, "run", "run") == (0, "", "")
    assert run_dir.read_result().state == "complete"
    host = platform.node()
    facts = json.loads(run_dir.environment.read_text())
    assert (facts["host"], facts["job"]) == (host, "Slurm job 12")
    first = f"fourierkd run: process {os.getpid()} on {host}, Slurm job 12\n"
    assert run_dir.log.read_text().startswith(first)
    rows = run_dir.scalars.read_bytes()
    assert call(capsys, "run", "run", "--resume") == (0, "", "")  # it has ended: nothing to do
    assert run_dir.scalars.read_bytes() == rows
    assert "request.json, got" in refused(call(capsys, "run", "nowhere"))


def test_a_job_that_fails_says_so_in_its_folder(capsys):
    options = {"custom_hooks": [{"type": "NoSuchHook"}]}
    run_dir = RunDir("run").create(single_request(CONFIG, options, wandb_mode="disabled"))
    code, out, err = call(capsys, "run", "run")
    assert (code, out, err) == (2, "", "")
    assert run_dir.read_result().state == "failed"
    assert "fourierkd: error: " in run_dir.log.read_text()
    assert call(capsys, "run", "run") == (1, "", "")  # the result stands


def test_switches_are_kept_in_the_run_and_a_resume_does_not_change_them(capsys):
    scale = "auto_scale_lr={'base_batch_size': 12}"
    flags = ("--amp", "bf16", "--accumulate", 2, "--auto-scale-lr", "--cfg-options", scale)
    code, out, _ = train(capsys, "--work-dir", "run", *flags)
    assert code == 0
    assert "learning rate 0.01 -> 0.0025, for batches of 3" in out
    options = RunDir("run").read_request().options
    assert options == {
        "auto_scale_lr": {"base_batch_size": 12},
        "auto_scale_lr.enable": True,
        "optim_wrapper.type": "Bf16OptimWrapper",
        "optim_wrapper.accumulative_counts": 2,
    }
    RunDir("run").result.unlink()
    line = refused(train(capsys, "--work-dir", "run", "--resume", "--accumulate", 3))
    assert "a resumed run keeps its options" in line
    assert train(capsys, "--work-dir", "run", "--resume", *flags)[0] == 0


def test_switches_that_do_not_fit_leave_no_folder(capsys):
    import torch

    assert "base_batch_size" in refused(train(capsys, "--work-dir", "run", "--auto-scale-lr"))
    assert "from 1 on, got 0" in refused(train(capsys, "--work-dir", "run", "--accumulate", 0))
    if not torch.cuda.is_available():
        assert "needs a CUDA device" in refused(train(capsys, "--work-dir", "run", "--amp"))
    assert not Path("run").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_by_which_signal(number, code):
    hooks = "custom_hooks=[{'type': 'Slow', 'seconds': 0.2}]"
    options = ["--cfg-options", hooks, "--wandb", "disabled", "--work-dir", "run"]
    command = [sys.executable, "-m", "fourierkd", "train", str(CONFIG), *options]
    env = {**os.environ, "PYTHONPATH": f"{ENGINE.parent.parent}:{ENGINE}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    end = time.monotonic() + 60
    while not RunDir("run").rows() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"signal {number.name}" in out
    assert "continue: fourierkd train " in out


@pytest.mark.parametrize("seed", [2**31, 4294967296001, 2**53])
def test_a_seed_of_any_size_trains_and_is_kept(capsys, seed):
    few = ("--cfg-options", "train_cfg.max_iters=2", "train_cfg.val_interval=2")
    assert train(capsys, "--work-dir", "run", "--seed", seed, *few)[0] == 0
    assert RunDir("run").read_request().seed == seed
    load_checkpoint(RunDir("run").last_checkpoint())


@pytest.mark.parametrize("seed", ["-1", "1.5", "x"])
def test_a_seed_is_a_whole_number(capsys, seed):
    code, _, err = train(capsys, "--work-dir", "run", f"--seed={seed}")
    assert code == 2
    assert f"a seed is a whole number from 0 to 2**53, got '{seed}'" in err
    assert not Path("run").exists()


def test_options_of_several_flags_add_up(capsys):
    first = ("--cfg-options", "train_cfg.max_iters=2", "find_unused_parameters=false")
    more = ("--cfg-options", "train_cfg.val_interval=2")
    assert train(capsys, "--work-dir", "run", *first, *more)[0] == 0
    assert RunDir("run").read_request().options == {
        "train_cfg.max_iters": 2,
        "find_unused_parameters": False,
        "train_cfg.val_interval": 2,
    }


def test_launcher_without_torchrun_says_how_to_start(capsys, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    line = refused(train(capsys, "--work-dir", "run", "--launcher", "pytorch"))
    assert "start it by: torchrun --nproc_per_node=N -m fourierkd train CONFIG" in line
    assert "needs srun's environment" in refused(train(capsys, "--launcher", "slurm"))
    assert not Path("run").exists()


def test_nothing_to_resume(capsys):
    assert "no run to resume" in refused(train(capsys, "--work-dir", "none", "--resume"))
    assert not Path("none").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["metrc=1"], "unknown key in config"),
        (["metrc=1"], "did you mean 'metric'"),
        (["train_cfg.max_iter.a=1"], "did you mean 'max_iters'"),
        (["nonsense"], "an option is KEY=VALUE"),
    ],
)
def test_unknown_key_leaves_no_folder(capsys, options, expected):
    assert expected in refused(train(capsys, "--work-dir", "run", "--cfg-options", *options))
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["data_root=nowhere"], "data_root must be a folder"),
        (["model.lossess={}"], "did you mean 'losses'"),
        (["val_evaluator.type=NoSuch"], "unknown type of a metric in the config, got 'NoSuch'"),
        (["val_evaluator.type=ToyAcuracy"], "did you mean 'ToyAccuracy'"),
        (["optim_wrapper.optimizer.wieght_decay=1"], "did you mean 'weight_decay'"),
        (["optim_wrapper.clip_gradd=1"], "did you mean 'clip_grad'"),
        (["param_scheduler.0.powr=1"], "unknown key of PolyLR in the config, got 'powr'"),
        (["train_cfg.max_itters=3"], "did you mean 'max_iters'"),
        (["train_dataloader.dataset.augmnt=True"], "did you mean 'augment'"),
        (["train_dataloader.dataset.type=ToyDatset"], "did you mean 'ToyDataset'"),
        (["val_dataloader.sampler.shufle=True"], "did you mean 'shuffle'"),
        (['default_hooks={"spectra": {"type": "SpectraHook", "evry": 2}}'], "mean 'every'"),
        (["model.student.widht=3"], "widht"),
        (["model=3"], "model is a dict, got 3"),
        (
            ["visualizer=SegLocalVisualizer"],
            "visualizer is a dict with a type, got 'SegLocalVisualizer'",
        ),
        (["custom_hooks=3"], "custom_hooks is a list of dicts with a type, got 3"),
        (["default_hooks=[]"], "default_hooks is a dict of dicts with a type, or None, got []"),
        (["train_cfg.max_iters=-3"], "train_cfg.max_iters is a whole number from 1 on, got -3"),
        (["train_cfg.val_interval=often"], "train_cfg.val_interval is a whole number"),
        (
            ["optim_wrapper.optimizer.lr=-1"],
            "optim_wrapper.optimizer.lr is a number from 0 to 10000, got -1",
        ),
        (["model.losses=5"], "model.losses is a dict of name -> loss, got 5"),
        (["model.teacher=5"], "model.teacher is a dict with model and checkpoint, or None, got 5"),
        (["default_hooks={'checkpoint': {'type': 'RunCheckpointHook', 'interval': -1}}"], "from 1"),
        (
            ["optim_wrapper.optimizer.lr=nan"],
            "option optim_wrapper.optimizer.lr is a finite number",
        ),
        (["param_scheduler.0.end=-3"], "PolyLR refuses its values in the config (end should be"),
    ],
)
def test_bad_input_of_a_run_is_one_line_and_leaves_no_folder(capsys, options, expected):
    answer = train(capsys, "--work-dir", "run", "--cfg-options", *options)
    assert expected in refused(answer)
    assert len(answer[2].splitlines()) == 1
    assert not Path("run").exists()


def test_bad_input_that_shows_in_training_keeps_the_log(capsys):
    answer = train(capsys, "--work-dir", "run", "--cfg-options", "metric=mIoU")
    assert "one that the evaluator gives, got 'mIoU'; known: acc" in refused(answer)
    assert "its log is run/run.log" in answer[2]
    assert RunDir("run").log.exists()


def test_other_back_ends_of_a_visualizer_work_or_are_one_line(capsys):
    options = "visualizer={'type': 'Visualizer', 'vis_backends': [{'type': '%s'}]}"
    backend = options % "WandbVisBackend"
    command = f"train {CONFIG} --wandb disabled --work-dir a --cfg-options train_cfg.max_iters=2"
    done = subprocess.run(  # wandb keeps the settings of its first use in a process
        [sys.executable, "-m", "fourierkd", *command.split(), backend],
        env={**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": f"{ENGINE}:{ROOT}"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if importlib.util.find_spec("clearml") is None:
        answer = train(capsys, "--work-dir", "b", "--cfg-options", options % "ClearMLVisBackend")
        assert "pip install clearml" in refused(answer)


def test_what_ends_a_run_before_its_first_iteration_is_one_line(capsys):
    options = ("--cfg-options", "train_cfg.dynamic_intervals=[1]")
    answer = train(capsys, "--work-dir", "run", *options)
    line = refused(answer)
    assert "the run ends before its first iteration is done (AssertionError" in line
    assert "Traceback" in RunDir("run").log.read_text()  # it is kept there
    assert "its log is run/run.log" in answer[2]


def test_what_ends_a_run_in_its_first_validation_is_one_line(capsys):
    options = ("val_evaluator.type=GivenValues", "val_evaluator.values=[]")
    line = refused(train(capsys, "--work-dir", "run", "--cfg-options", *options))
    assert "the run ends before its first validation is done (StopIteration" in line
    assert "Traceback" in RunDir("run").log.read_text()
    hook = {"type": "EarlyStoppingHook", "monitor": "x", "strict": True, "rule": "less"}
    line = refused(train(capsys, "--work-dir", "hook", "--cfg-options", f"custom_hooks=[{hook}]"))
    assert "before its first validation is done (" in line
    assert "conditioned on metric `x is not available" in line
    options = ("val_evaluator.type=GivenValues", "val_evaluator.values=[1]")
    with pytest.raises(StopIteration):  # what comes later is no mistake of a config
        train(capsys, "--work-dir", "two", "--cfg-options", *options, "val_evaluator.name=acc")
    assert "resume" in capsys.readouterr().err


def test_scores_of_data_without_an_end_and_of_an_evaluator_that_fails_are_refused(capsys):
    Path("any.pth").touch()
    options = ("--cfg-options", "test_dataloader.sampler.type=InfiniteSampler")
    line = refused(call(capsys, "test", CONFIG, "any.pth", *options))
    assert "test_dataloader.sampler never does, got 'InfiniteSampler'; use DefaultSampler" in line
    train(capsys, "--work-dir", "run", "--cfg-options", "train_cfg.max_iters=1")
    options = ("test_evaluator.type=GivenValues", "test_evaluator.values=[]")
    best = "run/checkpoints/best.pth"
    line = refused(call(capsys, "test", CONFIG, best, "--cfg-options", *options))
    assert "test cannot be scored (StopIteration: , in " in line


def test_a_config_of_a_package_is_found_by_its_name(capsys):
    name = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"
    line = refused(call(capsys, "train", name, "--work-dir", "run"))
    assert "a config name starts with" not in line  # it was made a path
    assert "metric" in line


def test_an_evaluator_that_only_writes_predictions_is_refused(capsys):
    """It gives no metrics, as a detector that found nothing does, which scores 0."""
    options = ("--cfg-options", "val_evaluator.format_only=True")
    line = refused(train(capsys, "--work-dir", "run", *options))
    assert "an evaluator of format_only=True gives no metric, got 'ToyAccuracy'" in line
    Path("any.pth").touch()
    options = ("--split", "test", "--cfg-options", "test_evaluator.format_only=True")
    assert "format_only" in refused(call(capsys, "test", CONFIG, "any.pth", *options))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "import no_such_package",
            "ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("exit()", "cannot be read: SystemExit"),
        ("raise SystemExit(0)", "cannot be read: SystemExit"),
        ("custom_imports = dict(imports=['no_such'])", "no_such"),
    ],
)
def test_a_config_that_ends_badly_is_one_line(capsys, text, expected):
    Path("own.py").write_text(text)
    assert expected in refused(call(capsys, "train", "own.py", "--work-dir", "run"))
    student = f"model.student={{'config': {str(Path('own.py').absolute())!r}}}"
    answer = train(capsys, "--work-dir", "run", "--cfg-options", student)
    assert expected in refused(answer)
    assert not Path("run").exists()


@pytest.mark.parametrize("arguments", [("x" * 300,), (CONFIG, "--work-dir", "x" * 300)])
def test_a_path_that_is_too_long_is_one_line(capsys, arguments):
    assert "File name too long" in refused(call(capsys, "train", *arguments))


def test_a_mistake_of_the_test_split_costs_no_training(capsys):
    options = ("--test-split", "test", "--cfg-options", "test_evaluator.type=ToyAcuracy")
    answer = train(capsys, "--work-dir", "run", *options)
    assert "did you mean 'ToyAccuracy'" in refused(answer)
    assert not RunDir("run").scalars.exists()


def test_a_run_that_bad_input_ended_at_its_start_may_be_started_anew(capsys):
    Path("run").mkdir()  # a folder of the user's is kept, whatever is in it
    Path("run/notes.txt").write_text("mine")
    refused(train(capsys, "--work-dir", "run", "--cfg-options", "data_root=nowhere"))
    code, out, _ = train(capsys, "--work-dir", "run")
    assert code == 0
    assert "complete after 20 iterations" in out
    assert "holds one run" in refused(train(capsys, "--work-dir", "run"))
    assert Path("run/notes.txt").read_text() == "mine"


def test_an_answer_that_cannot_be_written_is_found_before_the_work(capsys, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the work was begun")

    monkeypatch.setattr("fourierkd.commands.evaluate.evaluate_classes", never)
    monkeypatch.setattr("fourierkd.commands.bench.bench", never)
    Path("c.pth").touch()
    Path("folder").mkdir()
    for place in ("/proc/x/y.json", "folder", "c.pth/y.json"):
        for command in (("test", CONFIG, "c.pth"), ("bench", CONFIG)):
            line = refused(call(capsys, *command, "--json", place))
            assert "the answer's file must be writable" in line


def test_a_password_in_an_address_reaches_no_file_and_no_terminal(capsys, tmp_path):
    address = "https://me:s3cret@127.0.0.1:9/net.pth"
    Path("own.py").write_text(f"_base_ = {CONFIG!r}\nmodel = dict(pretrained={address!r})")
    for arguments in (
        ("train", CONFIG, "--work-dir", "run", "--cfg-options", f"model.pretrained={address}"),
        ("train", "own.py", "--work-dir", "run"),
    ):
        answer = call(capsys, *arguments)
        assert "an address holds no user and password" in refused(answer)
        assert "s3cret" not in answer[1] + answer[2]
    assert not Path("run").exists()


def test_missing_files_are_named(capsys, tmp_path):
    Path("student.py").touch()
    line = refused(call(capsys, "train", "studnet.py", "--work-dir", "run"))
    assert "a config must be a file, got 'studnet.py'; did you mean 'student.py'?" in line
    assert "no such checkpoint, got 'no.pth'" in refused(call(capsys, "test", CONFIG, "no.pth"))
    line = refused(call(capsys, "export", tmp_path / "no.pth", "--out", "x.pth"))
    assert f"no such checkpoint, got '{tmp_path / 'no.pth'}'" in line


def test_a_missing_file_is_named_before_anything_heavy_is_loaded(tmp_path):
    code = (
        "import sys; from fourierkd.cli import run_command; from fourierkd.errors import *\n"
        "for line in ('train no.py', 'export no.pth --out x', 'doctor no.py', 'bench no.py', "
        "'config no.py', 'methods no.py', 'data check no.py', 'attribute no.p', 'spectra no.p'):\n"
        "    try: run_command(line.split())\n"
        "    except FourierKDError as error: print(error)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("got 'no.p") == 9


def test_a_runs_checkpoint_away_from_its_run_needs_its_config(capsys, tmp_path):
    import torch
    from toy import ToyModel

    state = {f"student.{key}": value for key, value in ToyModel().state_dict().items()}
    torch.save(state, tmp_path / "moved.pth")
    line = refused(call(capsys, "export", tmp_path / "moved.pth", "--out", "x.pth"))
    assert "config of the run must lie beside its checkpoints" in line
    assert "config.py" in line
    arguments = ("export", tmp_path / "moved.pth", "--out", "x.pth", "--config", CONFIG)
    assert call(capsys, *arguments)[0] == 0


def test_checkpoint_that_carries_code_is_refused_and_not_run(capsys):
    import torch

    class Bomb:
        def __reduce__(self):
            return os.mkdir, ("exploded",)

    torch.save({"state_dict": Bomb()}, "bomb.pth")
    assert "not run" in refused(call(capsys, "test", CONFIG, "bomb.pth"))
    assert not Path("exploded").exists()
    Path("text.pth").write_text("hello")
    assert "not a checkpoint" in refused(call(capsys, "test", CONFIG, "text.pth"))


def test_checkpoint_of_another_architecture_is_refused(capsys):
    import torch
    from toy import ToyModel

    torch.save(ToyModel(width=7).state_dict(), "other.pth")
    assert "of another architecture" in refused(call(capsys, "test", CONFIG, "other.pth"))
    teacher = (
        'model.teacher={"model": {"type": "ToyModel", "width": 6}, "checkpoint": "other.pth"}',
        'model.losses={"l2": {"student_tap": "features", "teacher_tap": "features", '
        '"loss": {"type": "NoisyL2"}}}',
    )
    line = refused(train(capsys, "--work-dir", "run", "--cfg-options", *teacher))
    assert "of another architecture" in line
    assert "other.pth" in line


def test_a_pair_is_distilled_by_a_method_that_is_named(capsys):
    teacher = 'model.teacher={"model": {"type": "ToyModel", "width": 6}, "checkpoint": "random"}'
    options = ("--cfg-options", 'taps={"feature": "features"}', teacher)
    named = ("--method", "pkd", "--name", "first", "--group", "mine")
    code, _, err = train(capsys, "--work-dir", "run", *named, *options)
    assert code == 0, err
    request = RunDir(Path("run")).read_request()
    assert (request.method, request.wandb.name, request.wandb.group) == ("pkd", "first", "mine")
    assert any("train/distill.pkd.loss" in row for row in RunDir(Path("run")).rows())
    line = refused(train(capsys, "--work-dir", "other", "--method", "pdk", *options))
    assert "unknown method, got 'pdk'; did you mean 'pkd'" in line
    assert not Path("other").exists()


def test_methods_are_listed(capsys):
    from fourierkd.methods import method_names

    code, out, _ = call(capsys, "methods")
    assert code == 0
    headings = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert headings[:-1] == method_names()  # the last line is about sums
    assert "iou  detection" in out
    assert "kl  segmentation" in out
    assert "\nfgd  detection\n" in out  # of pyramids, but with the boxes of the objects
    assert "tuned: cwd.loss_weight, cwd.temperature, cwd.connector" in out
    assert "on this pair" not in out


def test_methods_of_a_pair_say_what_they_add(capsys):
    code, out, _ = call(capsys, "methods", str(SHAPES / "pspnet_fourier.py"))
    assert code == 0
    pkd = out[out.index("\npkd  ") : out.index("\npublished  ")]
    added = 64 * 128 + 128  # a 1x1 convolution from the student's width to the teacher's
    assert f"on this pair: {added:,} parameters more in training" in " ".join(pkd.split())
    iou = out[out.index("\niou  ") : out.index("\nkl  ")]
    assert "not on this pair: the method iou compares head" in " ".join(iou.split())
    line = refused(call(capsys, "methods", str(SHAPES / "pspnet_student.py")))
    assert "a method needs a config with a teacher" in line


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("student=dict(decode_head=dict(in_chanels=3))", "in_chanels"),
        ("student=dict(type='mmseg.EncoderDecodr')", "EncoderDecodr"),
        ("teacher=dict(backbone='x')", "unknown key of model.teacher, got 'backbone'"),
        ("teacher=dict(model=dict(backbone=dict(depth=35)))", "35"),
        ("losses=dict(x=dict(tap='feature'))", "this config has losses of its own, got"),
    ],
)
def test_what_is_wrong_with_the_pair_is_said_once_and_of_no_method(
    capsys, tmp_path, model, message
):
    base = str(SHAPES / "pspnet_fourier.py")
    config = tmp_path / "pair.py"
    config.write_text(f"_base_ = {base!r}\nmethod = None\nmodel = dict({model})\n")
    code, out, err = call(capsys, "methods", str(config))
    assert "on this pair" not in out
    assert re.search(message, refused((code, out, err)))
    assert err.count("fourierkd: error: ") == 1


def test_work_dir_must_be_writable(capsys, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)  # root may write everywhere
    assert "the work dir must be writable" in refused(train(capsys, "--work-dir", "run"))


def test_full_disk_is_one_line(capsys, monkeypatch):
    def full(self, row):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.scalars))

    monkeypatch.setattr(RunDir, "append", full)
    line = refused(train(capsys, "--work-dir", "run"))
    assert "No space left on device" in line
    assert "scalars.jsonl" in line
    assert RunDir("run").read_result().state == "failed"


def test_disk_that_fills_up_names_the_file_and_what_is_kept(capsys, monkeypatch):
    sync = os.fsync

    def full(descriptor):
        if Path("run/checkpoints/last_checkpoint").exists():
            raise OSError(errno.ENOSPC, "No space left on device")  # as a write fails: no name
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = train(capsys, "--work-dir", "run")
    line = refused(answer)
    assert "run/checkpoints/" in line
    assert line.endswith(": No space left on device; free some space")
    assert f"continue: fourierkd train {CONFIG} --work-dir run --resume" in answer[2]
    code, out, _ = train(capsys, "--work-dir", "run", "--resume")
    assert code == 0
    assert "complete after 20 iterations" in out


def test_versions_are_told_without_loading_anything():
    code = (
        "import sys; from fourierkd.cli import run_command\n"
        "try: run_command(['--version'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    names = ["fourierkd", "torch", "mmengine", "mmcv", "mmdet", "mmseg", "python"]
    assert [line.split()[0] for line in lines] == names
    assert lines[1] == f"torch {importlib.metadata.version('torch')}"


def test_quiet_shows_the_result_alone(capfd):
    code, out, err = train(capfd, "--work-dir", "run", "-q")
    assert (code, err) == (0, "")
    assert out.startswith("complete after 20 iterations")
    assert refused(train(capfd, "--work-dir", "run", "-q"))
    best = "run/checkpoints/best.pth"
    code, out, err = call(capfd, "test", CONFIG, best, "-q")
    assert (code, err, out.count("\n")) == (0, "", 1)


def test_verbose_shows_what_is_logged_and_keeps_it_in_the_log(capfd):
    code, out, _ = train(capfd, "--work-dir", "run", "-v")
    assert code == 0
    log = RunDir("run").log.read_text()
    assert log
    assert set(log.splitlines()) <= set(out.splitlines())
    assert "complete after 20 iterations" in out
    _, quiet, _ = call(capfd, "test", CONFIG, "run/checkpoints/best.pth")
    _, out, err = call(capfd, "test", CONFIG, "run/checkpoints/best.pth", "-v")
    assert quiet in out
    assert len(out + err) > len(quiet)
    assert call(capfd, "test", CONFIG, "run/checkpoints/best.pth", "-v", "-q")[0] == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_options_and_files(capsys, shell):
    code, out, err = call(capsys, "completion", shell)
    assert (code, err) == (0, "")
    for word in ("train", "voc2coco", "--cfg-options", "fourierkd"):
        assert word in out
    assert ("_shtab_compgen_files" if shell == "bash" else "_files") in out
    checked = (
        subprocess.run([shell, "-n"], input=out, text=True, check=False)
        if shell == "bash"
        else None
    )
    assert checked is None or checked.returncode == 0


def test_bash_completes_a_command(capsys, tmp_path):
    _, script, _ = call(capsys, "completion", "bash")
    ask = (
        "COMP_WORDS=(fourierkd {words}); COMP_CWORD={at}; _shtab_fourierkd fourierkd; "
        'echo "${{COMPREPLY[@]}}"'
    )
    Path("mine.py").touch()
    for words, at, expected in (
        ("tra", 1, "train"),
        ("train --meth", 2, "--method"),
        ("bench mi", 2, "mine.py"),
        ("new x --student mi", 4, "mine.py"),
    ):
        text = f"{script}\n{ask.format(words=words, at=at)}"
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
        assert done.stdout.split() == [expected], done.stderr


def test_help_needs_no_torch():
    code = (
        "import sys; from fourierkd.cli import build_parser; build_parser().format_help(); "
        "sys.exit('torch' in sys.modules or 'mmengine' in sys.modules)"
    )
    root = str(Path(__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": root}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
