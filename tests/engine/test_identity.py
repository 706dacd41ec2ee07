"""A resumed run is of one config and on one data set, or it is refused in one line."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace

import pytest

from fourierkd.analysis.results import results_table
from fourierkd.config.load import load_config
from fourierkd.engine.hooks.checkpoint import RunCheckpointHook
from fourierkd.engine.identity import changed_keys
from fourierkd.engine.run import run
from fourierkd.errors import CheckpointError
from fourierkd.records import State
from tests.engine.conftest import HERE, TEACHER


@pytest.fixture
def stopped(make_run, tmp_path):
    """A run of a config of its own, on data of its own, cut at iteration 3."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.json").write_text("[1]")
    config = tmp_path / "case.py"
    config.write_text(f"_base_ = {str(HERE / 'toy_config.py')!r}\n")
    models = {}
    for role, width in (("student", 4), ("teacher", 6)):
        path = tmp_path / f"{role}.py"
        path.write_text(f"model = dict(type='ToyModel', width={width})\n")
        models[role] = str(path)
    options = {**TEACHER, "data_root": str(data), "model.student": models["student"]}
    options["model.teacher"] = {"model": models["teacher"], "checkpoint": "random"}
    run_dir = make_run("run", options, config=str(config))

    def stop_at_once(self, *args, **kwargs):
        run_dir.ask_stop(State.STOPPED, "test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunCheckpointHook, "before_train", stop_at_once, raising=False)
        assert run(run_dir, resume=False).state == "stopped"
    return run_dir


def resumed(run_dir):
    rows = run_dir.scalars.read_bytes() if run_dir.scalars.exists() else b""
    with pytest.raises(CheckpointError) as refused:
        run(run_dir, resume=True)
    assert (run_dir.scalars.read_bytes() if run_dir.scalars.exists() else b"") == rows
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_the_same_goes_on(stopped):
    assert run(stopped, resume=True).state == "complete"


def test_a_result_says_what_makes_it_comparable(stopped, make_run, tmp_path):
    result = run(stopped, resume=True)
    here = result.conditions
    assert here == stopped.read_result().conditions
    assert None not in (here.data, here.config_hash, here.device, here.threads)
    assert here.host == platform.node()
    (row,) = results_table([stopped]).to_dict("records")
    assert {key: row[key] for key, value in asdict(here).items() if value} == {
        key: value for key, value in asdict(here).items() if value
    }

    moved = tmp_path / "moved"
    (tmp_path / "data").rename(moved)
    request = stopped.read_request()

    def conditions(name, **options):
        asked = replace(request, options={**request.options, "data_root": str(moved), **options})
        return run(make_run(name, **vars(asked)), resume=False).conditions

    assert conditions("again") == here  # wherever the data are
    faster = conditions("faster", **{"optim_wrapper.optimizer.lr": 0.5})
    assert faster.config_hash != here.config_hash
    (moved / "train.json").write_text("[2]")
    assert conditions("other") == replace(here, data=conditions("other 2").data)
    assert conditions("other 3").data != here.data


def test_an_edited_config_is_refused_by_its_keys(stopped, tmp_path):
    before = stopped.config.read_text()
    with open(tmp_path / "case.py", "a") as file:
        file.write("optim_wrapper = dict(optimizer=dict(lr=0.5))\nfind_unused_parameters = True\n")
    line = resumed(stopped)
    assert "these keys differ, got 'find_unused_parameters, optim_wrapper.optimizer.lr'" in line
    assert "restore it, or start another --work-dir" in line
    assert stopped.config.read_text() == before
    (tmp_path / "case.py").write_text(f"_base_ = {str(HERE / 'toy_config.py')!r}\n# a comment\n")
    assert run(stopped, resume=True).state == "complete"


def test_edited_model_files_are_refused(stopped, tmp_path):
    (tmp_path / "student.py").write_text("model = dict(type='ToyModel', width=5)\n")
    assert "these keys differ, got 'model.student.width'" in resumed(stopped)
    (tmp_path / "student.py").write_text("model = dict(type='ToyModel', width=4)\n")
    (tmp_path / "teacher.py").write_text("model = dict(type='ToyModel', width=7)\n")
    assert "the teacher's config differs, got" in resumed(stopped)


def test_other_data_are_refused(stopped, tmp_path):
    (tmp_path / "data/train.json").write_text("[2]")
    assert "files of it differ, got" in resumed(stopped)
    (tmp_path / "data/train.json").write_text("[1]")
    assert run(stopped, resume=True).state == "complete"


def test_moved_data_are_the_same(stopped, tmp_path):
    (tmp_path / "data").rename(tmp_path / "moved")
    request = stopped.read_request()
    moved = {**request.options, "data_root": str(tmp_path / "moved")}
    stopped.create(replace(request, options=moved))
    assert run(stopped, resume=True).state == "complete"


def test_a_run_of_an_older_version_knows_less_of_itself(stopped, tmp_path):
    facts = json.loads(stopped.environment.read_text())
    del facts["identity"]
    stopped.environment.write_text(json.dumps(facts))
    (tmp_path / "data/train.json").write_text("[2]")
    assert run(stopped, resume=True).state == "complete"


def test_a_tuple_is_the_list_that_a_file_gives_back(make_run):
    run_dir = make_run()
    options = {"custom_hooks": [], "teacher_metric": {"acc": (1, 2.5)}}
    config = load_config(HERE / "toy_config.py", options)
    run_dir.config.write_text(config.pretty_text + "# read as literals\n")
    assert changed_keys(run_dir, config) == []
    other = load_config(HERE / "toy_config.py", {**options, "teacher_metric.acc": [1, 2.0]})
    assert changed_keys(run_dir, other) == ["teacher_metric.acc.1"]


def test_taps_are_kept_and_an_older_version_did_not_keep_them(make_run):
    run_dir = make_run()
    config = load_config(HERE / "toy_config.py", {"taps": {"feature": "features"}})
    lines = config.pretty_text.splitlines(keepends=True)
    run_dir.config.write_text("".join(line for line in lines if not line.startswith("taps = ")))
    assert changed_keys(run_dir, config) == []
    other = load_config(HERE / "toy_config.py", {"taps": {"feature": "norm"}})
    run_dir.config.write_text(other.pretty_text)
    assert changed_keys(run_dir, config) == ["taps.feature"]
