"""Typed errors: one line of rule, value and next step; exit codes of the command lines."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys

import pytest

from fourierkd.errors import ConfigError, DataError, FourierKDError, exit_on_error, near
from fourierkd.run_dir import write_atomic


def test_message_is_rule_value_fix():
    assert str(ConfigError("high must be above low", value=1.4, fix="use 1.0")) == (
        "high must be above low, got 1.4; use 1.0"
    )
    assert str(ConfigError("no value")) == "no value"
    assert str(ConfigError("none is a value", value=None)) == "none is a value, got None"


@pytest.mark.parametrize(
    "error", [DataError("rule", value=[1], fix="fix"), DataError("rule"), DataError("r", fix="f")]
)
def test_errors_cross_process_borders(error):
    other = pickle.loads(pickle.dumps(error))
    assert type(other) is DataError
    assert str(other) == str(error)
    assert (other.rule, other.fix) == (error.rule, error.fix)


def test_near_names():
    assert near("metrc", ["metric", "model"]) == "did you mean 'metric'?"
    assert near("zzz", ["b", "a"]) == "known: a, b"
    assert near("zzz", []) == "none are known"
    assert near("zzz", [f"k{i:02}" for i in range(30)]).endswith("k19, ...")


def code(main) -> object:
    with pytest.raises(SystemExit) as end:
        exit_on_error("prog", main)
    return end.value.code


def test_exit_codes(capsys):
    assert code(lambda: None) == 0
    assert code(lambda: 3) == 3

    def bad() -> int:
        raise FourierKDError("rule\nover lines", value=1)

    assert code(bad) == 2
    assert capsys.readouterr().err == "prog: error: rule over lines, got 1\n"


def test_full_disk_and_a_folder_for_a_file_are_bad_input_and_a_bug_is_not(capsys, tmp_path):
    def full() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/x/scalars.jsonl")

    assert code(full) == 2
    assert "/x/scalars.jsonl: No space left on device" in capsys.readouterr().err

    def folder() -> int:
        write_atomic(tmp_path, "x")
        return 0

    assert code(folder) == 2
    assert f"cannot write or read {tmp_path}: it is a folder" in capsys.readouterr().err

    def bug() -> int:
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        exit_on_error("prog", bug)


def test_an_ascii_terminal_shows_what_it_can():
    code = "from fourierkd.errors import *; exit_on_error('x', lambda: print('a – b'))"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a ? b\n", b"")


def test_ctrl_c_is_one_line_and_130(capsys):
    """In every command; ``study`` and ``train`` say more where they have something to save."""

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        exit_on_error("fourierkd", interrupted)
    assert end.value.code == 130
    assert capsys.readouterr().err == "fourierkd: interrupted\n"


def test_a_reader_that_has_seen_enough_sees_no_traceback():
    lines = (
        "from fourierkd.errors import exit_on_error\n"
        "exit_on_error('p', lambda: print('line\\n' * 99999))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", lines], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
