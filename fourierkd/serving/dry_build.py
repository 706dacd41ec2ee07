"""Runs built without training: in flow configs and options, out flows what is wrong with each.

A study asks this of everything that it will train, before its teacher and its arms cost hours. No
data and no weights are read, so neither has to be there yet; with weights only their file is looked
at, the frozen teacher has random ones.
"""

from __future__ import annotations

import json
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import LOOPS, METRICS, PARAM_SCHEDULERS, DefaultScope

from fourierkd.config.load import RunConfig, load_config
from fourierkd.config.schedules import check_schedules, schedules_of
from fourierkd.distill.fetch import is_address
from fourierkd.distill.refusals import check_keys, refusals
from fourierkd.distill.register import register_all
from fourierkd.distill.teacher import RANDOM
from fourierkd.engine.prepare import complete_config
from fourierkd.engine.runner import KDRunner
from fourierkd.engine.switches import check_switches
from fourierkd.errors import CheckpointError, FourierKDError, one_line
from fourierkd.fingerprint import file_sha256
from fourierkd.records import Request
from fourierkd.run_dir import RunDir, write_atomic

AN_EPOCH = 1000  # iterations, where a schedule wants them: how many the data gives is not known


def answer(path: Path) -> None:
    """Try the requests of a JSON file, by what a person calls them, one after the
    other, up to the first that is refused.

    ``answer_path(path)`` then holds ``{"name", "error", "teachers"}``: what was refused and why
    (None where all is well), and the SHA-256 of every teacher's weights that a config names.
    """
    found: dict[str, Any] = {"name": None, "error": None, "teachers": {}}
    for name, value in json.loads(path.read_text()).items():
        request = Request.from_json(value, path, fix="run the study again")
        error = refused(request, found["teachers"])
        if error is not None:
            found |= {"name": name, "error": error}
            break
    write_atomic(answer_path(path), json.dumps(found))


def answer_path(path: Path) -> Path:
    """Where the answer to the requests of ``path`` lies."""
    return path.with_name(f"{path.name}.answer")


def refused(request: Request, teachers: dict[str, str]) -> str | None:
    """Why the run of ``request`` cannot be built, in one line; None where it can.

    Args:
        request: of a run.
        teachers: file of weights -> SHA-256, which is added to.
    """

    def work() -> None:
        config = whole_config(request)
        check_schedules(config, in_study=True)
        build(config, teachers)

    return why_not(work)


def whole_config(request: Request) -> RunConfig:
    """The config of a run, with all that a run puts in."""
    config = load_config(request.config, request.options)
    complete_config(config, request.test_split)
    check_switches(config)
    return config


def why_not(work: Callable[[], None]) -> str | None:
    """Do ``work``; why it cannot be done, in one line, None where it was."""
    scopes = dict(DefaultScope._instance_dict)
    try:
        with refusals():
            work()
    except FourierKDError as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()  # the server's log has all of it
        return f"{type(error).__name__}: {one_line(error)[:300]}"
    finally:  # each of its models would be a scope for ever
        DefaultScope._instance_dict.clear()
        DefaultScope._instance_dict.update(scopes)
    return None


def build(config: RunConfig, teachers: dict[str, str]) -> None:
    """Model, losses, hooks and optimizer of a complete config, the teacher with random weights."""
    teacher = config.model.get("teacher")
    if isinstance(teacher, Mapping):
        checkpoint = teacher.get("checkpoint")
        _look_at_weights(checkpoint, teachers)
        config.model["teacher"]["checkpoint"] = checkpoint and RANDOM  # none is refused
    register_all()
    with tempfile.TemporaryDirectory() as folder:
        runner = KDRunner(config, RunDir(folder), seed=0)
        optimizer = runner.build_optim_wrapper(config.optim_wrapper)
    for schedule in schedules_of(config.get("param_scheduler")):
        given = {"epoch_length": AN_EPOCH} if schedule.get("convert_to_iter_based") else {}
        PARAM_SCHEDULERS.build(schedule, default_args={"optimizer": optimizer, **given})
    for part in ("train", "val", "test"):
        if config.get(f"{part}_dataloader") is not None:
            check_keys({"type": f"{part.capitalize()}Loop", **config[f"{part}_cfg"]}, LOOPS)
        for metric in _metrics(config.get(f"{part}_evaluator")):
            check_keys(metric, METRICS)


def _metrics(evaluator: Any) -> list[Any]:
    """The metrics of an evaluator's config, but for those of a class of evaluators of its own."""
    parts = evaluator if isinstance(evaluator, list | tuple) else [evaluator]
    return [part for part in parts if isinstance(part, Mapping) and "metrics" not in part]


def _look_at_weights(checkpoint: Any, teachers: dict[str, str]) -> None:
    if not isinstance(checkpoint, str) or checkpoint == RANDOM or is_address(checkpoint):
        return  # what is no text is refused as the run refuses it
    if checkpoint in teachers:
        return
    if not Path(checkpoint).is_file():
        raise CheckpointError("a teacher's checkpoint must be a file", value=checkpoint)
    teachers[checkpoint] = file_sha256(checkpoint)
