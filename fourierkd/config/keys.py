"""The keys of a run config: in flow its values, out flow refusals of unknown keys and wrong types.

What a class takes is its own to say (``distill.refusals``); here is what MMEngine's runner and ours
read themselves, where a wrong type is an error deep inside or none at all.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fourierkd.config.schedules import schedules_of
from fourierkd.errors import ConfigError, near

OWN_KEYS = {
    "data_root",
    "direction",
    "method",
    "metric",
    "prepare_data",
    "student_norm",
    "taps",
    "teacher_metric",
}
RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg"}
# What MMEngine's runner looks up in ``runner.cfg``, beside its constructor's arguments.
CFG_KEYS = {
    "activation_checkpointing",
    "compile",
    "custom_imports",
    "efficient_conv_bn_eval",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "sync_bn",
}
KNOWN_KEYS = (OWN_KEYS | RUNNER_KEYS | CFG_KEYS) - {"data_preprocessor"}  # the student has its own
# Variables that configs of this ecosystem define for their own use; any other one starts with "_".
HELPER_KEYS = {
    "backend_args",
    "batch_size",
    "checkpoint",
    "classes",
    "crop_size",
    "data_preprocessor",
    "dataset_type",
    "image_size",
    "img_ratios",
    "img_scale",
    "max_epochs",
    "max_iters",
    "metainfo",
    "norm_cfg",
    "num_classes",
    "optimizer",
    "palette",
    "test_pipeline",
    "train_pipeline",
    "tta_model",
    "tta_pipeline",
    "val_pipeline",
    "vis_backends",
}
# What MMEngine's constructor of optimizers looks for, and passes over where it is misspelt.
_CONSTRUCTOR = "DefaultOptimWrapperConstructor"
_PARAMWISE = {
    "custom_keys",
    "bias_lr_mult",
    "bias_decay_mult",
    "norm_decay_mult",
    "dwconv_decay_mult",
    "dcn_offset_lr_mult",
    "flat_decay_mult",
    "bypass_duplicate",
}
_FACTORS = ("lr_mult", "decay_mult")
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_LOADER_KEYS = {*inspect.signature(DataLoader.__init__).parameters, "num_batch_per_epoch"}
# Dicts that no class takes whole: what is not known in them would be passed over.
SECTIONS = {
    **dict.fromkeys(LOADERS, (_LOADER_KEYS - {"self"}) | {"_scope_"}),
    "auto_scale_lr": {"enable", "base_batch_size"},
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
}
MOST_LR = 1e4  # above it nothing is learnt, and a short run ends before its loss is infinite


class Rule(NamedTuple):
    """What a value is, in words, and whether one is that; ``none``: None is the same as no key."""

    words: str
    holds: Callable[[Any], bool]
    none: bool = True


def _typed(value: Any) -> bool:
    return isinstance(value, Mapping) and "type" in value


def _all(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(map(holds, value))


def _whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _schedulers(value: Any) -> bool:
    if isinstance(value, Mapping) and "type" not in value:  # by optimizer
        return bool(value) and all(map(_schedulers, value.values()))
    return _typed(value) or _all(value, _typed)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


DICT = Rule("a dict", lambda v: isinstance(v, Mapping))
TYPED = Rule("a dict with a type", _typed)
TYPED_LIST = Rule("a list of dicts with a type", lambda v: _all(v, _typed))
TYPED_S = Rule("a dict with a type, or a list of them", lambda v: _typed(v) or _all(v, _typed))
TEXT = Rule("a text", _text)
SWITCH = Rule("True or False", lambda v: isinstance(v, bool), none=False)
COUNT = Rule("a whole number from 1 on", lambda v: _whole(v, 1))
FACTOR = Rule("a number from 0 on", lambda v: _number(v, 0, math.inf), none=False)
ABOVE_0 = Rule("a number above 0", lambda v: _number(v, 0, math.inf) and v > 0, none=False)
SIZE = Rule("a whole number from 0 on", lambda v: _whole(v, 0), none=False)

RULES: dict[str, Rule] = {
    "metric": TEXT,
    "direction": TEXT,
    "data_root": Rule("a path", lambda v: _text(v) or isinstance(v, Path)),
    "prepare_data": DICT,
    "teacher_metric": DICT,
    "model": DICT,
    "optim_wrapper": DICT,
    "optim_wrapper.optimizer": TYPED._replace(none=False),
    "optim_wrapper.optimizer.lr": Rule(
        f"a number from 0 to {MOST_LR:g}", lambda v: _number(v, 0, MOST_LR), none=False
    ),
    "optim_wrapper.clip_grad": DICT,
    "optim_wrapper.clip_grad.max_norm": ABOVE_0,
    "optim_wrapper.clip_grad.clip_value": ABOVE_0,
    "optim_wrapper.paramwise_cfg": DICT,
    "optim_wrapper.paramwise_cfg.custom_keys": DICT,
    "optim_wrapper.accumulative_counts": COUNT._replace(none=False),
    "param_scheduler": Rule("a dict with a type, or a list of them", _schedulers),
    "train_cfg": DICT,
    "train_cfg.max_iters": COUNT,
    "train_cfg.max_epochs": COUNT,
    "train_cfg.val_interval": COUNT._replace(none=False),
    "train_cfg.val_begin": COUNT._replace(none=False),
    "train_cfg.by_epoch": SWITCH,
    "val_cfg": DICT,
    "test_cfg": DICT,
    "default_hooks": Rule(
        "a dict of dicts with a type, or None",
        lambda v: isinstance(v, Mapping) and all(h is None or _typed(h) for h in v.values()),
    ),
    "custom_hooks": TYPED_LIST,
    "visualizer": TYPED,
    "visualizer.vis_backends": TYPED_LIST,
    "log_processor": DICT,
    "log_level": Rule("a text or a number", lambda v: _text(v) or _whole(v, 0), none=False),
    "auto_scale_lr": DICT,
    "auto_scale_lr.enable": SWITCH,
    "auto_scale_lr.base_batch_size": COUNT,
    "env_cfg": DICT,
    "env_cfg.cudnn_benchmark": SWITCH,
    "env_cfg.mp_cfg": DICT,
    "env_cfg.dist_cfg": DICT,
    "randomness": DICT,
    "custom_imports": DICT,
    "model_wrapper_cfg": DICT,
    "find_unused_parameters": SWITCH,
    "sync_bn": TEXT,
    "compile": Rule("True, False or a dict", lambda v: isinstance(v, bool | Mapping)),
    "activation_checkpointing": Rule(
        "a module path or a list of them", lambda v: isinstance(v, str) or _all(v, _text)
    ),
    "work_dir": TEXT,
    "experiment_name": TEXT,
    "default_scope": TEXT,
    "launcher": TEXT,
    "resume": SWITCH,
}
for _loader in LOADERS:
    RULES |= {
        _loader: Rule("a dict with a dataset", lambda v: isinstance(v, Mapping) and "dataset" in v),
        f"{_loader}.dataset": TYPED._replace(none=False),
        f"{_loader}.sampler": TYPED,
        f"{_loader}.sampler.shuffle": SWITCH,
        f"{_loader}.batch_sampler": TYPED,
        f"{_loader}.batch_size": COUNT._replace(none=False),
        f"{_loader}.num_workers": SIZE,
        f"{_loader}.prefetch_factor": COUNT,
        f"{_loader}.persistent_workers": SWITCH,
        f"{_loader}.pin_memory": SWITCH,
        f"{_loader}.drop_last": SWITCH,
    }
RULES |= {"val_evaluator": TYPED_S, "test_evaluator": TYPED_S}
SCHEDULE_RULES = {
    "by_epoch": SWITCH,
    "begin": SIZE,
    "milestones": Rule("a list of whole numbers", lambda v: _all(v, lambda m: _whole(m, 0))),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that nothing would read, or that a request cannot hold.

    Raises:
        ConfigError: the first part of a dotted key is a variable that only the config's own file
            reads; a number is not finite.
    """
    for key, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"the option {key} is a finite number", value=value)
        head = key.partition(".")[0]
        if head == "custom_imports":
            raise ConfigError("modules are imported while a file is read", fix="name them there")
        if head in HELPER_KEYS or head.startswith("_"):
            raise ConfigError(
                "an option sets what a run reads, and this is a variable of the config's own file",
                value=key,
                fix="set the keys where it is used",
            )


def check_types(values: Mapping[str, Any]) -> None:
    """Refuse values that are not what their keys take.

    Raises:
        ConfigError: a wrong type or range, an unknown key of a data loader, a class without a name,
            a number that is none.
    """
    for key, rule in RULES.items():
        node: Any = values
        *parents, last = key.split(".")
        for part in parents:
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and last in node:
            _check_value(key, node[last], rule)
    for schedule in schedules_of(values.get("param_scheduler")):
        for key, rule in SCHEDULE_RULES.items():
            if key in schedule:
                _check_value(f"param_scheduler's {key}", schedule[key], rule)
    for section, known in SECTIONS.items():
        for key in values.get(section) or ():
            if key not in known:
                raise ConfigError(f"unknown key of {section}", value=key, fix=near(key, known))
    _check_paramwise(values.get("optim_wrapper") or {})
    _check_nodes(values, "")


def _check_paramwise(wrapper: Mapping[str, Any]) -> None:
    """Refuse keys of ``paramwise_cfg`` that nothing reads, and factors that are none."""
    given = wrapper.get("paramwise_cfg") or {}
    if wrapper.get("constructor", _CONSTRUCTOR) == _CONSTRUCTOR:  # another's are its own to know
        for key in given:
            if key not in _PARAMWISE:
                raise ConfigError(
                    "unknown key of optim_wrapper.paramwise_cfg",
                    value=key,
                    fix=near(key, _PARAMWISE),
                )
    for name, own in (given.get("custom_keys") or {}).items():
        where = f"optim_wrapper.paramwise_cfg.custom_keys[{name!r}]"
        _check_value(where, own, DICT._replace(none=False))
        for key, value in own.items():  # the optimizer's own keys are meant for its groups
            if key in _FACTORS:
                _check_value(f"{where}.{key}", value, FACTOR)
            elif (hint := near(key, _FACTORS)).startswith("did you mean"):
                raise ConfigError(f"unknown key of {where}", value=key, fix=hint)


def _check_value(key: str, value: Any, rule: Rule) -> None:
    if not (rule.none if value is None else rule.holds(value)):
        raise ConfigError(f"{key} is {rule.words}", value=value, fix="correct it")


def _check_nodes(node: Any, where: str) -> None:
    """What holds at any depth."""
    if isinstance(node, float) and math.isnan(node):
        raise ConfigError(f"{where} is a number", value=node, fix="correct it")
    if isinstance(node, Mapping):
        kind = node.get("type", "x")
        if not (_text(kind) or callable(kind)):
            raise ConfigError(f"{where}.type names a class", value=kind, fix="correct it")
        for key, value in node.items():
            if not isinstance(key, str):
                continue  # a table of the user's own, such as class numbers
            _check_nodes(value, f"{where}.{key}" if where else key)
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            _check_nodes(value, f"{where}.{index}")
