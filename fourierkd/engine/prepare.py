"""What precedes a run, a test or an examination: in flows a config, out flow its hooks and data.

What every run has (loops of the given data loaders, hooks) is put in, and generated data is made
and kept as it is while it is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fourierkd.config.load import RunConfig, load_config
from fourierkd.config.schedules import check_schedules, schedules_of
from fourierkd.distill.refusals import registered, unknown_type
from fourierkd.distill.registry import OPTIMIZERS
from fourierkd.engine.hooks.checkpoint import check_metric, check_monitor
from fourierkd.engine.switches import check_switches
from fourierkd.errors import ConfigError, DataError
from fourierkd.records import MAXIMIZE, checked_direction

HOOKS: dict[str, dict[str, Any] | None] = {
    "runtime_info": {"type": "RuntimeInfoHook"},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "random_state": {"type": "RandomStateHook"},
    "teacher_maps": {"type": "TeacherMapsHook"},
    "first_step": {"type": "FirstStepHook"},
    "scalars": {"type": "ScalarsHook"},
    "spectra": {"type": "SpectraHook"},
    "checkpoint": {"type": "RunCheckpointHook"},
    "control": {"type": "ControlHook"},
    "timer": None,  # MMEngine's: ScalarsHook and the runner's clock do their work
    "logger": None,
}
MMENGINES = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
# What configs of the task packages ask for, and a run does otherwise.
REPLACED_HOOKS = ("CheckpointHook", "IterTimerHook", "LoggerHook")
VISUALIZATION_HOOKS = ("mmdet.DetVisualizationHook", "mmseg.SegVisualizationHook")
# Samplers that go on for ever: mmengine's and mmdet's.
ENDLESS = ("InfiniteSampler", "MultiSourceSampler", "GroupMultiSourceSampler")
# What the command line decides: a value in the config would be passed over.
ELSEWHERE = {
    "load_from": "give a teacher as model.teacher.checkpoint, continue a run with --resume",
    "resume": "continue a run with --resume",
    "randomness": "give the seed as --seed",
    "work_dir": "give it as --work-dir",
    "launcher": "give it as --launcher",
}


def complete_config(config: RunConfig, split: str | None) -> None:
    """Put in what every run has (loops of the given data loaders, hooks), in place.

    Raises:
        ConfigError: no training loop, a bad number in it, or the test split is asked for and not
            described.
    """
    _check_top(config)
    _complete_training(config)
    if split not in (None, "val", "test"):
        raise ConfigError("a split is val or test", value=split)
    for part in ("val", "test"):
        _complete_split(config, part, asked=split)
    config.direction = checked_direction(config.get("direction") or MAXIMIZE).value
    config.default_hooks = _complete_hooks(config)


def resolve_config(
    path: str | Path, options: Mapping[str, Any], split: str | None = None
) -> RunConfig:
    """The config that a run of ``path`` trains, with everything refused that needs neither model
    nor data to be seen.

    Args:
        path: an MMEngine text config, or ``mmdet::name``.
        options: dotted options on it.
        split: where the run is scored at its end; None: nowhere.

    Raises:
        ConfigError: it cannot be trained.
    """
    config = load_config(path, options)
    complete_config(config, split)
    check_switches(config)
    check_schedules(config)
    return config


def _check_top(config: RunConfig) -> None:
    """What every run needs, and what the command line decides."""
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "model"):
        if not config.get(key):
            raise ConfigError(f"a run config needs {key}", fix="see configs/_base_")
    if "type" not in config.model:
        raise ConfigError("model names its class", value=None, fix="set model.type = 'Distiller'")
    for key, fix in ELSEWHERE.items():  # MMEngine's load_from would run what the file holds
        if config.get(key) not in (None, False, {}, "none"):  # as MMEngine writes a config out
            raise ConfigError(f"{key} is not read from a config", value=config[key], fix=fix)
        config.pop(key, None)


def _complete_split(config: RunConfig, part: str, *, asked: str | None) -> None:
    """Loader, evaluator and loop of ``val`` or ``test``; ``asked``: where the run is scored."""
    loader, evaluator = config.get(f"{part}_dataloader"), config.get(f"{part}_evaluator")
    if (loader is None) != (evaluator is None):
        raise ConfigError(f"{part}_dataloader and {part}_evaluator come together")
    if loader is None:
        for key in ("cfg", "dataloader", "evaluator"):
            config[f"{part}_{key}"] = None
        if asked == part:
            raise ConfigError(f"scoring on {part} needs {part}_dataloader and {part}_evaluator")
        return
    if not config.get(f"{part}_cfg"):
        config[f"{part}_cfg"] = {}
    if part == "val" and not config.get("metric"):
        raise ConfigError("a config with validation needs `metric`", fix="e.g. metric = 'mIoU'")
    if part in ("val", asked) and config.get("metric"):
        check_metric(config.metric, evaluator)
    check_ends(f"{part}_dataloader", loader, "a validation or test")
    if part == "val":
        _check_monitors(config)


def _complete_hooks(config: RunConfig) -> dict[str, Any]:
    """Ours, the config's in place of them, the checkpoint going by the config's metric."""
    hooks = copy.deepcopy(HOOKS)
    for name, hook in (config.get("default_hooks") or {}).items():
        if hook is not None and hook["type"] in VISUALIZATION_HOOKS and not hook.get("draw"):
            continue  # in those configs by default: it warns that it does nothing
        if hook is None or _short(hook["type"]) not in REPLACED_HOOKS:
            hooks[name] = hook
    # MMEngine takes None for its own hooks alone
    hooks = {name: hook for name, hook in hooks.items() if hook is not None or name in MMENGINES}
    if hooks["checkpoint"] is not None:
        for key in ("metric", "direction"):
            given = hooks["checkpoint"].setdefault(key, config.get(key))
            if given != config.get(key):  # the best checkpoint would not be the one reported
                raise ConfigError(
                    f"default_hooks.checkpoint goes by the config's {key}, {config.get(key)!r}",
                    value=given,
                    fix=f"set {key} at the config's top level, and not in the hook",
                )
    return hooks


def _check_monitors(config: RunConfig) -> None:
    """What watches a metric of the validation."""
    hooks = [*(config.get("default_hooks") or {}).values(), *(config.get("custom_hooks") or [])]
    for part in (*hooks, *schedules_of(config.get("param_scheduler"))):
        kind = _short(part and part["type"])
        if kind == "EarlyStoppingHook" and "monitor" in part:
            check_monitor(f"{kind}.monitor", part["monitor"], config.val_evaluator)
        elif kind.startswith("ReduceOnPlateau"):
            monitor = part.get("monitor", "val_loss")  # as its class has it
            check_monitor(f"{kind}.monitor", monitor, config.val_evaluator)


def check_ends(key: str, loader: Any, what: str) -> None:
    """Refuse a sampler that never ends, where the loop waits for its end."""
    kind = _short((loader.get("sampler") or {}).get("type"))
    if kind in ENDLESS:
        raise ConfigError(
            f"{what} ends with its data, and {key}.sampler never does",
            value=kind,
            fix="use DefaultSampler (with _delete_=True, where it comes from a _base_)",
        )


def _short(kind: Any) -> str:
    """The name of a class without its package."""
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _complete_training(config: RunConfig) -> None:
    """Name the classes that MMEngine takes where a config names none; it builds them alike."""
    loop, wrapper = config.train_cfg, config.optim_wrapper
    if "type" not in loop:
        by_epoch = loop.pop("by_epoch", "max_iters" not in loop)
        loop["type"] = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
    if _short(loop["type"]) == "EpochBasedTrainLoop":
        check_ends("train_dataloader", config.train_dataloader, "an epoch")
    length = loop.get("max_iters") or loop.get("max_epochs")
    if config.get("val_dataloader") and length and loop.get("val_begin", 1) > length:
        raise ConfigError(
            f"a validation begins within the training ({length})",
            value=loop["val_begin"],
            fix="set train_cfg.val_begin lower",
        )
    if "constructor" not in wrapper:  # else it may want several optimizers, by other names
        wrapper.setdefault("type", "OptimWrapper")
        if "optimizer" not in wrapper:
            raise ConfigError("optim_wrapper needs an optimizer", fix="see configs/_base_")
    if "optimizer" not in wrapper:
        return
    kind = wrapper.optimizer["type"]
    if isinstance(kind, str) and "." not in kind and kind not in registered(OPTIMIZERS):
        raise unknown_type(kind, OPTIMIZERS)


@contextmanager
def prepared_data(config: RunConfig, *, reader: str) -> Iterator[None]:
    """Make the data where the config says how; within, nobody replaces what was generated.

    Args:
        reader: by which others are told whom to wait for, such as a run's folder.

    Raises:
        DataError: ``data_root`` is no folder, or holds data of other parameters.
    """
    root = config.get("data_root")
    with ExitStack() as held:
        if config.get("prepare_data"):
            from fourierkd.data.prepare import prepared

            if not root:
                raise ConfigError("prepare_data needs data_root")
            held.enter_context(prepared(dict(config.prepare_data), root, reader=reader))
        if root is not None and not Path(root).is_dir():
            raise DataError(
                "data_root must be a folder",
                value=str(Path(root).absolute()),
                fix="set data_root, or make the data",
            )
        yield
