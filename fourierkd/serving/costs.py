"""What an iteration of several runs costs: in flow requests, out flow costs and schedules.

A comparison with a budget asks this before it trains anything. Each run is built as it will be, but
for its weights, which change no cost, and its learning rate, which is 0, so that every step is the
same. The steps are taken in turns on one batch of the runs' own data. A teacher whose maps a run
keeps has given those of this batch before, so what is measured is a step of a run that has seen its
images: what the teacher costs once for each of them is not counted.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mmengine.optim import OptimWrapperDict

from fourierkd.config.load import RunConfig
from fourierkd.distill.register import register_all
from fourierkd.distill.teacher import RANDOM
from fourierkd.engine.cost import Part, flops, peak_mib, time_in_turns
from fourierkd.engine.environment import environment
from fourierkd.engine.hooks.teacher_maps import keep_maps
from fourierkd.engine.loaders import build_loader
from fourierkd.engine.prepare import prepared_data
from fourierkd.engine.run import parameter_counts
from fourierkd.engine.runner import KDRunner
from fourierkd.records import Request
from fourierkd.run_dir import RunDir, write_atomic
from fourierkd.serving.dry_build import answer_path, whole_config, why_not

ROUNDS, WARM_UP = 20, 3
LATE = 10**9  # the iteration that losses with a warm-up are told: theirs is over
DATA = ""  # the part that loads a batch; no run is called so


def answer(path: Path) -> None:
    """Measure the requests of a JSON file, which differ in their methods alone.

    ``answer_path(path)`` then holds ``{"error", "costs", "schedules", "environment"}``: why they
    cannot be measured (None where they were), the fields of ``records.Cost`` but the machine by
    request, the parts of each config that say how long it trains, and what it was measured on.
    """
    requests = {
        name: Request.from_json(value, path, fix="run the comparison again")
        for name, value in json.loads(path.read_text()).items()
    }
    found: dict[str, Any] = {"environment": environment()}

    def work() -> None:
        configs = {name: whole_config(request) for name, request in requests.items()}
        found["schedules"] = {name: schedule(config) for name, config in configs.items()}
        found["costs"] = measured(configs, reader=str(path.parent))

    found["error"] = why_not(work)
    write_atomic(answer_path(path), json.dumps(found))


def schedule(config: RunConfig) -> dict[str, Any]:
    """What of a config counts iterations: its loop, its schedules, the warm-ups of its losses."""
    losses = config.model.get("losses") or {}
    parts = {
        "train_cfg": config.train_cfg,
        "param_scheduler": config.get("param_scheduler"),
        "warmups": {name: entry.get("warmup_iters", 0) for name, entry in losses.items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(parts, default=str))
    return plain


def measured(configs: Mapping[str, RunConfig], *, reader: str) -> dict[str, dict[str, Any]]:
    """Name -> cost, of whole configs with the same data; ``reader``: see ``prepared_data``."""
    first = next(iter(configs.values()))
    register_all()
    with ExitStack() as held:
        held.enter_context(prepared_data(first, reader=reader))
        folder = held.enter_context(tempfile.TemporaryDirectory())
        loader = build_loader(first.train_dataloader, seed=0)
        batches = _endless(loader)
        dataset: Any = loader.dataset
        batch, images = next(batches), len(dataset)
        models, steps = {}, {}
        for name, config in configs.items():
            models[name], steps[name] = _step(config, folder, batch, images)
        device = next(next(iter(models.values())).parameters()).device
        parts: dict[str, Part] = {DATA: lambda: next(batches), **steps}
        seconds = time_in_turns(parts, device, iters=ROUNDS, warmup=WARM_UP)
        load = statistics.median(seconds[DATA])
        return {
            name: {
                "parameters": parameter_counts(models[name])["losses"],
                "gflop": flops(step) / 1e9,
                "seconds": load + statistics.median(seconds[name]),
                "peak_mib": peak_mib(step, device),
            }
            for name, step in steps.items()
        }


def _step(config: RunConfig, folder: str, batch: Any, images: int) -> tuple[Any, Part]:
    """A model, and an iteration of its training on ``batch``, as the loop takes it."""
    teacher = config.model.get("teacher")
    known = teacher is not None and teacher.get("checkpoint") != RANDOM
    if teacher is not None:
        teacher.checkpoint = RANDOM
    runner = KDRunner(config, RunDir(folder), seed=0)
    model: Any = runner.bare_model
    optim = runner.build_optim_wrapper(config.optim_wrapper)
    model.train()
    runner.message_hub.update_info("iter", LATE)
    if known and config.default_hooks.get("teacher_maps") is not None:
        model.teacher.sha256 = "as trained"  # else its maps are those of a negative control
        keep_maps(model, config, images)
    for wrapper in optim.values() if isinstance(optim, OptimWrapperDict) else [optim]:
        for group in wrapper.optimizer.param_groups:
            group["lr"] = 0.0
    return model, lambda: model.train_step(batch, optim)


def _endless(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
