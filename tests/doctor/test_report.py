"""The report: exit code, JSON, table."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from fourierkd.doctor.report import CHECKS, Check, accept, as_json, exit_code, summary, table
from fourierkd.errors import ConfigError

GOOD = Check("build", "ok", "built")
ODD = Check("gradient share", "warn", "fourier: 99.9 %", "lower loss_weight")
BAD = Check("levels", "fail", "stride 8 against 4", "tap others", {"ratio": float("nan")})


def drawn(checks, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table(checks))
    return console.file.getvalue()


def test_only_a_failure_fails():
    assert exit_code([GOOD, ODD]) == 0
    assert exit_code([GOOD, ODD, BAD]) == 1
    assert summary([GOOD, ODD, BAD]) == "1 ok, 1 warn, 1 fail; failed: levels"


def test_an_accepted_failure_is_a_warning():
    accepted = accept([GOOD, BAD], ["levels"])
    assert [check.status for check in accepted] == ["ok", "warn"]
    assert accepted[1].value == BAD.value
    assert accept([GOOD, BAD], ["losses"]) == [GOOD, BAD]
    with pytest.raises(ConfigError, match="no check has this name, got 'level'; did you mean"):
        accept([], ["level"])


def test_json_is_plain():
    report = as_json([GOOD, BAD], config="c.py")
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["passed"] is False
    assert report["config"] == "c.py"
    assert report["counts"] == {"ok": 1, "warn": 0, "fail": 1, "skip": 0}
    assert report["checks"][1]["facts"] == {"ratio": None}


def test_table_shows_status_value_and_advice():
    text = drawn([GOOD, ODD, BAD])
    assert all(word in text for word in ("built", "-> lower loss_weight", "fail"))
    assert max(map(len, text.splitlines())) <= 100


def test_skips_of_one_reason_share_a_row():
    skipped = [Check(name, "skip", "no teacher") for name in CHECKS[1:6]]
    text = drawn([GOOD, *skipped, Check("bands", "skip", "no loss that a mask divides into bands")])
    assert "the others" in text
    assert text.count("no teacher") == 1
    assert "no loss that a mask divides into bands" in text
