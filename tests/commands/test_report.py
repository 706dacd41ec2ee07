"""``fourierkd report``: what it writes and how it refuses."""

from __future__ import annotations

import pytest

from fourierkd.cli import main
from fourierkd.records import Request
from fourierkd.run_dir import RunDir


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["report", *arguments])
    return int(end.value.code or 0)


def test_pages_of_one_and_of_two_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        run = RunDir(name).create(Request(config="c.py", seed=0))
        run.append({"iter": 10, "epoch": 0, "train/loss": 1.0})
    assert call("a") == 0
    assert capsys.readouterr().out.split() == ["a/report.html", "a/report.png"]
    assert call("a", "b", "--out", "both.html") == 0
    assert capsys.readouterr().out.split() == ["both.html", "both.png"]
    assert (tmp_path / "both.html").read_text().count("plot-curve-loss") == 1

    (tmp_path / "study.json").write_text("{}")
    for arguments, words in (
        (("a", "b"), "the page of several runs needs a name; add --out FILE.html"),
        ((".",), "that is a study: python sweeps/run.py report ."),
        (("a", "--out", "study.json"), "a page's name ends with .html"),
    ):
        assert call(*arguments) == 2
        assert words in capsys.readouterr().err
