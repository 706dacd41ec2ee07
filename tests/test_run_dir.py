"""The run folder: what survives a kill, and what a reader sees meanwhile."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from fourierkd.errors import ConfigError, RunError
from fourierkd.records import Request, Result, State, Stop
from fourierkd.run_dir import RunDir, cache_root, read_json, write_atomic

REQUEST = Request(config="config.py", seed=3)


@pytest.fixture
def run_dir(tmp_path) -> RunDir:
    return RunDir(tmp_path / "run").create(REQUEST)


def test_request_round_trip(run_dir):
    assert run_dir.read_request() == REQUEST
    with pytest.raises(RunError, match=r"holds request\.json"):
        RunDir(run_dir.path / "other").read_request()


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file"
    write_atomic(path, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_failed_write_names_the_file_and_not_the_one_beside_it(tmp_path, monkeypatch):
    """The reader of the one line knows no file of that name."""

    def refuse(source, target):
        raise OSError(errno.EROFS, "Read-only file system", str(source))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="Read-only") as error:
        write_atomic(tmp_path / "results.csv", "new")
    assert error.value.filename == str(tmp_path / "results.csv")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_as_open_as_the_umask_says(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        run_dir = RunDir(tmp_path / "run").create(REQUEST)
        run_dir.append({"iter": 1})
        with run_dir.lock():
            pass
        modes = {stat.S_IMODE(path.stat().st_mode) for path in run_dir.path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {mode}


def test_a_link_in_the_place_of_a_lock_or_the_rows_leaves_its_target_alone(run_dir, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    for name in ("lock", "scalars.jsonl"):
        (run_dir.path / name).symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"), run_dir.lock():
        pass
    with pytest.raises(OSError, match="symbolic links"):
        run_dir.append({"iter": 1})
    assert mine.read_text() == "mine"


def test_without_a_home_folder_the_cache_folder_is_asked_for(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("FOURIERKD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="set FOURIERKD_CACHE to a folder"):
        cache_root()
    monkeypatch.setenv("FOURIERKD_CACHE", "/x")
    assert cache_root() == Path("/x")


def test_rows_survive_a_line_cut_by_a_kill(run_dir):
    run_dir.append({"iter": 1, "train/loss": 0.5})
    with open(run_dir.scalars, "ab") as file:
        file.write(b'{"iter": 2, "train/lo')
    assert run_dir.rows() == [{"iter": 1, "train/loss": 0.5}]
    run_dir.append({"iter": 2, "train/loss": float("nan")})
    run_dir.append({"iter": 3, "train/loss": float("inf")})
    assert [r["iter"] for r in run_dir.rows()] == [1, 2, 3]
    assert run_dir.rows()[1]["train/loss"] is None
    for line in run_dir.scalars.read_text().splitlines():
        assert "NaN" not in line


def test_tail_gives_whole_rows_once(run_dir):
    assert run_dir.tail() == ([], 0)
    run_dir.append({"iter": 1})
    rows, offset = run_dir.tail()
    assert rows == [{"iter": 1}]
    assert run_dir.tail(offset) == ([], offset)
    with open(run_dir.scalars, "ab") as file:
        file.write(b'{"iter": 2')
    assert run_dir.tail(offset) == ([], offset)  # not whole yet
    with open(run_dir.scalars, "ab") as file:
        file.write(b"}\n")
    assert run_dir.tail(offset)[0] == [{"iter": 2}]


def test_a_resume_voids_later_rows(run_dir):
    for i in (5, 10, 15):
        run_dir.append({"iter": i, "v": "first"})
    run_dir.append({"event": "resume", "iter": 10})
    run_dir.append({"iter": 15, "v": "second"})
    run_dir.append({"event": "resume", "iter": 10})
    run_dir.append({"iter": 15, "v": "third"})
    assert [(r["iter"], r["v"]) for r in run_dir.rows()] == [
        (5, "first"),
        (10, "first"),
        (15, "third"),
    ]


def test_stop_request(run_dir):
    assert run_dir.stop_asked() is None
    run_dir.ask_stop(State.PRUNED, "below the median")
    asked = run_dir.stop_asked()
    assert asked == Stop(state=State.PRUNED, reason="below the median")
    run_dir.clear_stop()
    run_dir.clear_stop()
    assert run_dir.stop_asked() is None


def test_result_round_trip(run_dir):
    assert run_dir.read_result() is None
    run_dir.write_result(Result(state=State.COMPLETE))
    assert run_dir.read_result() == Result(state=State.COMPLETE)


def test_damaged_json_is_named(run_dir):
    run_dir.result.write_text("{")
    with pytest.raises(RunError, match=r"result\.json must be a JSON object"):
        run_dir.read_result()
    assert read_json(run_dir.path / "none") is None


def test_last_checkpoint_needs_marker_and_file(run_dir):
    assert run_dir.last_checkpoint() is None
    write_atomic(run_dir.checkpoints / "last_checkpoint", "iter_5.pth\n")
    assert run_dir.last_checkpoint() is None
    (run_dir.checkpoints / "iter_5.pth").touch()
    assert run_dir.last_checkpoint() == run_dir.checkpoints / "iter_5.pth"


def test_names_of_pictures(run_dir):
    assert run_dir.picture(40, "fourier_0").name == "spectra_000040_fourier_0.png"
    assert run_dir.picture(40, "fourier_0", ".npz").parent == run_dir.pictures


def _try_lock(path: Path, answers) -> None:
    try:
        with RunDir(path).lock():
            answers.put("free")
    except RunError as error:
        answers.put(str(error))


def test_lock_excludes_another_process(run_dir):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()

    def ask() -> str:
        process = context.Process(target=_try_lock, args=(run_dir.path, answers))
        process.start()
        process.join(20)
        return answers.get(timeout=5)

    with run_dir.lock():
        assert "one process at a time" in ask()
    assert ask() == "free"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_unwritable_folder(tmp_path, monkeypatch, number):
    def refuse(self, *args, **kwargs):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match="work dir must be writable"):
        RunDir(tmp_path / "run").create(REQUEST)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="work dir must be writable"):
        RunDir(tmp_path / "run").create(REQUEST)


def test_a_full_disk_stays_a_full_disk(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OSError, match="No space left"):
        RunDir(tmp_path / "run").create(REQUEST)


def test_rows_are_json(run_dir):
    run_dir.append({"iter": 1, "a": 1.5, "b": None})
    assert json.loads(run_dir.scalars.read_text()) == {"iter": 1, "a": 1.5, "b": None}


def test_a_file_is_not_written_onto_a_folder_or_below_a_file(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path, "x")
    with pytest.raises(NotADirectoryError):
        write_atomic(tmp_path / "file" / "x.json", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_pictures_are_found_by_iteration_and_label(run_dir):
    for iteration, name in ((5, "l2_0"), (10, "l2_0"), (10, "a_0_1"), (10, "a_0_0")):
        for suffix in (".png", ".npz"):
            path = run_dir.picture(iteration, name, suffix)
            path.parent.mkdir(exist_ok=True)
            path.touch()
    assert run_dir.saved_pictures() == {
        5: {"l2": run_dir.picture(5, "l2_0")},
        10: {
            "a_0.0": run_dir.picture(10, "a_0_0"),
            "a_0.1": run_dir.picture(10, "a_0_1"),
            "l2": run_dir.picture(10, "l2_0"),
        },
    }


DAMAGED = [b"", b"{", b"[]", b"5", b'{"a": "\xe4"}', "{}".encode("utf-16") + b"x", b"{}"]


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("name", ["request", "result", "control"])
def test_a_damaged_record_is_one_line_with_its_file_and_what_to_do(tmp_path, name, content):
    run = RunDir(tmp_path)
    path = getattr(run, name)
    path.write_bytes(content)
    read = {
        "request": run.read_request,
        "result": run.read_result,
        "control": run.stop_asked,
    }[name]
    with pytest.raises(RunError) as error:
        read()
    assert str(error.value).startswith(f"{path} must ")
    assert "delete it" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        {"state": "done"},
        {"state": "complete", "best": 5},
        {"state": "complete", "best": {"value": "high"}},
        {"state": "complete", "metrics": {"val/mIoU": "high"}},
        {"state": "complete", "seconds": [1]},
    ],
)
def test_a_result_with_a_wrong_type_is_damaged(tmp_path, content):
    RunDir(tmp_path).result.write_text(json.dumps(content))
    with pytest.raises(
        RunError, match="must hold a run's result .*; delete it, and the run goes on"
    ):
        RunDir(tmp_path).read_result()


def test_rows_without_an_iteration_are_passed_over(tmp_path):
    run = RunDir(tmp_path)
    run.scalars.write_text('{"iter": 1}\n{"train/loss": 2}\n\n[]\n{"iter": "x"}\n{"iter": 2}\n')
    assert [row["iter"] for row in run.rows()] == [1, 2]


def test_a_run_folder_that_was_moved_is_told_and_not_made_again(tmp_path):
    run = RunDir(tmp_path / "run")
    with run.lock():
        run.beat()
        run.path.rename(tmp_path / "elsewhere")
        for write in (
            run.beat,
            lambda: run.append({"iter": 1}),
            lambda: run.write_result(Result(state=State.FAILED)),
        ):
            with pytest.raises(RunError, match="this one was moved or removed, got .*put it back"):
                write()
    assert not run.path.exists()
    run.beat()  # of an evaluation, which holds no lock


def test_rows_of_classes_outlive_kills_and_count_once(run_dir):
    def row(iteration, split="val", value=1.0):
        scores = {"IoU": [value, float("nan")]}
        return {"iter": iteration, "split": split, "classes": ["a", "b"], "scores": scores}

    assert run_dir.class_rows("val") == {}
    run_dir.void_after(0)
    assert not run_dir.classes.exists()  # none asked for
    for iteration in (5, 10, 15):
        run_dir.append_classes(row(iteration))
    with open(run_dir.classes, "ab") as file:
        file.write(b'{"iter": 20, "spl')
    run_dir.void_after(10)
    run_dir.append_classes(row(15, value=2.0))
    run_dir.append_classes(row(10, "test", 3.0))
    run_dir.append_classes(row(10, "test", 4.0))  # the end was gone through again
    assert list(run_dir.class_rows("val")) == [5, 10, 15]
    assert run_dir.class_rows("val")[15]["scores"] == {"IoU": [2.0, None]}
    assert [r["scores"]["IoU"][0] for r in run_dir.class_rows("test").values()] == [4.0]
    assert run_dir.rows() == []
