"""The files of a new pair: in flow what was found and decided, out flow texts of configs.

They are configs as those of ``configs/camvid``: short, and their owner's to edit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourierkd.commands.pair_models import DETECTION, SEGMENTATION, Side
from fourierkd.config.keys import KNOWN_KEYS, LOADERS
from fourierkd.data.found import Found
from fourierkd.errors import ConfigError
from fourierkd.literals import config_text

WIDTH = 100
HEAD = "# Written by `fourierkd new`; yours to edit.\n"
DATA_KEYS = (*LOADERS, "val_evaluator", "test_evaluator")
DATASETS = {
    "coco": "mmdet.CocoDataset",
    "voc": "mmdet.CocoDataset",
    "masks": "mmseg.BaseSegDataset",
    "cityscapes": "mmseg.CityscapesDataset",
}
LEFT_TO_DATA = ("reduce_zero_label",)  # of a step that loads masks: the data set says it
OF_ROOT = ("DefaultSampler", "InfiniteSampler")  # samplers of MMEngine itself


class Code(str):
    """An expression that stands in a text as it is."""


@dataclass(frozen=True)
class Pair:
    """What the files say.

    Attributes:
        name: of the study.
        student, teacher: the models.
        task: of both.
        taps: role -> (student's, teacher's module path).
        method: of the pair.
        metric: what is maximised.
        checkpoint: of the teacher; None where a study trains it.
        found: data below a root; None where the student's config has its own.
        own_schedule: whether a trained teacher keeps the schedule of its own config.
        tested: whether there is a test split to score on.
    """

    name: str
    student: Side
    teacher: Side
    task: str
    taps: Mapping[str, tuple[str, str]]
    method: str
    metric: str
    checkpoint: str | None
    found: Found | None
    own_schedule: bool
    tested: bool


def pair_files(pair: Pair, folder: Path) -> dict[str, str]:
    """File name -> text of everything in ``folder``."""
    files = {}
    if pair.found is not None:
        files["data.py"] = _data(pair, pair.found)
    sides = [pair.student] if pair.checkpoint else [pair.student, pair.teacher]
    for side in sides:
        if _is_newer(side) and (side is pair.student or pair.own_schedule):
            files[_plain_name(side)] = _plain(side, pair)
    files["student.py"] = _alone(pair, pair.student, folder)
    files["fourier.py"] = _distilled(pair)
    if pair.checkpoint is None:
        files["teacher.py"] = _teacher(pair, folder)
    files["study.py"] = _study(pair)
    return files


def _alone(pair: Pair, side: Side, folder: Path) -> str:
    """A run of one model alone, by its own config's schedule."""
    if side.role == "student":
        text = "# The student alone; the distilled runs start from this file, so that only the\n"
        text += "# distillation differs.\n"
    else:
        text = "# The teacher, by its own config's schedule: trained once by a study.\n"
    there = set(side.config)
    if _is_newer(side):
        base = _plain_name(side)
        there -= {"model", *(DATA_KEYS if pair.found else ())}
    else:
        base = side.name if "::" in side.name else os.path.relpath(side.name, folder)
    bases = [base] if pair.found is None else [base, "data.py"]
    text += HEAD + _line("_base_", bases if len(bases) > 1 else base) + "\n"
    text += _line("metric", pair.metric)
    if pair.found is not None:
        text += _line("data_root", str(pair.found.root))
        for key in DATA_KEYS:
            split, _, what = key.partition("_")
            kept = f"_base_._data_{split}" + ("_score" if what == "evaluator" else "")
            text += _line(key, Code(f"dict(_delete_=True, **{kept})" if key in there else kept))
    model: dict[str, Any] = {"type": "Distiller", "student": side.spec}
    return text + _line("model", {"_delete_": True, **model} if "model" in there else model)


def _distilled(pair: Pair) -> str:
    taps = {
        role: paths[0]
        if paths[0] == paths[1]
        else dict(zip(("student", "teacher"), paths, strict=True))
        for role, paths in pair.taps.items()
    }
    teacher = {"model": pair.teacher.spec, "checkpoint": pair.checkpoint}
    note = "" if pair.checkpoint else "# A study fills in the teacher's checkpoint.\n"
    return (
        "# The pair; method=... takes another way, and `fourierkd methods` lists them.\n"
        + note
        + HEAD
        + _line("_base_", "student.py")
        + "\n"
        + _line("taps", taps)
        + _line("method", pair.method)
        + _line("model", {"teacher": teacher})
    )


def _teacher(pair: Pair, folder: Path) -> str:
    if pair.own_schedule:
        return _alone(pair, pair.teacher, folder)
    return (
        "# The teacher, by the student's schedule and on its data: trained once by a study.\n"
        + HEAD
        + _line("_base_", "student.py")
        + "\n"
        + _line("model", {"_delete_": True, "type": "Distiller", "student": pair.teacher.spec})
    )


def _study(pair: Pair) -> str:
    study = {
        "name": pair.name,
        "config": "fourier.py",
        "trials": 16,
        "jobs": 1,
        "trial_jobs": 1,
    }
    imports = "from sweeps.presets import method_search\n"
    if not pair.tested:
        study["final_split"] = "val"
    if pair.checkpoint is None:
        study["teacher"] = {"config": "teacher.py", "option": "model.teacher.checkpoint"}
    if pair.task == DETECTION and "head" not in pair.taps:  # no loss of heads to add to others
        imports = (
            "from sweeps.presets import SEARCHED, method_search\n"
            "from sweeps.space import METHOD, suggest\n"
        )
        study["space"] = Code("{METHOD: suggest.method(*SEARCHED)}")
    lines = "".join(f"    {key}={source(value, 4)},\n" for key, value in study.items())
    return (
        f'"""Distillation of {pair.name}: methods tuned and compared fairly.\n\n'
        "Written by `fourierkd new`; yours to edit. jobs and trial_jobs: runs at once.\n"
        f'"""\n\n{imports}\n'
        f"study = dict(\n    method_search({source(pair.metric)}),\n{lines})\n"
    )


# The data


def _data(pair: Pair, found: Found) -> str:
    counts = ", ".join(f"{split} {part.images}" for split, part in found.splits.items())
    text = f"# The data ({found.format}): images in {counts}. Pipelines and batches are those of\n"
    text += f"# {pair.student.name}.\n" + HEAD
    metainfo: dict[str, Any] = {}
    if found.classes:
        text += _line("_data_classes", found.classes)
        metainfo["classes"] = Code("_data_classes")
    if found.palette:
        text += _line("_data_palette", [tuple(colour) for colour in found.palette])
        metainfo["palette"] = Code("_data_palette")
    for split, part in found.splits.items():
        own = pair.student.config["train_dataloader" if split == "train" else "val_dataloader"]
        leaf: dict[str, Any] = {"type": DATASETS[found.format], "data_root": "{data_root}"}
        leaf |= part.files | found.suffixes
        if metainfo:
            leaf["metainfo"] = metainfo
        if split != "train" and pair.task == DETECTION:
            leaf["test_mode"] = True
        text += _line(f"_data_{split}", _loader(own, leaf, pair.student.scope))
    scores = _scores(pair, found)
    if "test" not in found.splits:
        text += _line("_data_test", Code("_data_val"))
        scores["_data_test_score"] = Code("_data_val_score")
    return text + "".join(_line(key, value) for key, value in scores.items())


def _scores(pair: Pair, found: Found) -> dict[str, Any]:
    """What scores each split that is not trained on."""
    if pair.task == SEGMENTATION:
        score: dict[str, Any] = {"type": "mmseg.IoUMetric", "iou_metrics": ["mIoU"]}
        return {f"_data_{split}_score": score for split in ("val", "test")}
    scores = {}
    for split, part in found.splits.items():
        name = part.files["ann_file"]
        path = name if name.startswith("{{") else f"{{data_root}}/{name}"
        scores[f"_data_{split}_score"] = {
            "type": "mmdet.CocoMetric",
            "ann_file": path,
            "metric": "bbox",
        }
    del scores["_data_train_score"]
    return scores


def _loader(own: Mapping[str, Any], leaf: dict[str, Any], scope: str) -> dict[str, Any]:
    """A data loader of the student's config on other data."""
    loader = {key: value for key, value in own.items() if key != "dataset"}
    for key in ("sampler", "batch_sampler"):
        if isinstance(loader.get(key), Mapping):
            loader[key] = _scoped(loader[key], scope)
    return loader | {"dataset": _scoped(_on(own["dataset"], leaf), scope)}


def _on(dataset: Mapping[str, Any], leaf: dict[str, Any]) -> dict[str, Any]:
    """A data set's config with another leaf in its wrappers; of several the first one counts."""
    if "datasets" in dataset:
        return _on(dataset["datasets"][0], leaf)
    if "dataset" in dataset:
        return {**dataset, "dataset": _on(dataset["dataset"], leaf)}
    kept = {key: dataset[key] for key in ("filter_cfg",) if dataset.get(key) is not None}
    pipeline = [
        {key: value for key, value in step.items() if key not in LEFT_TO_DATA}
        for step in dataset.get("pipeline") or ()
    ]
    return {**leaf, **kept, "pipeline": pipeline}


def _scoped(part: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The part with its package before its type, by which what is inside is found too."""
    kind = str(part.get("type"))
    prefix = "" if "." in kind or kind in OF_ROOT else f"{scope}."
    plain: dict[str, Any] = _without_scope(part)
    return {**plain, "type": f"{prefix}{kind}"}


def _without_scope(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_scope(part) for key, part in node.items() if key != "_scope_"}
    if isinstance(node, list | tuple):
        return type(node)(_without_scope(part) for part in node)
    return node


# MMEngine's newer form


def _is_newer(side: Side) -> bool:
    """Whether a config is of the form with ``read_base``, which a text config cannot start from."""
    return "::" not in side.name and b"read_base" in Path(side.name).read_bytes()


def _plain_name(side: Side) -> str:
    return f"{side.role}_base.py"


def _plain(side: Side, pair: Pair) -> str:
    left_out = {"model", *(DATA_KEYS if pair.found else ())}
    values = {
        key: value
        for key, value in side.config.items()
        if key in KNOWN_KEYS and key not in left_out
    }
    return (
        f"# {side.name} as it was, in plain values: a text config cannot start from one of\n"
        f"# MMEngine's newer form.\n{HEAD}{config_text(values)}"
    )


# Values as source


def _line(key: str, value: Any) -> str:
    return f"{key} = {source(value, 0, len(key) + 3)}\n"


def source(value: Any, indent: int = 0, used: int | None = None) -> str:
    """A value as configs write it, ``dict(a=1)``, in lines of at most WIDTH where it can be broken.

    Args:
        indent: of the lines after the first.
        used: columns before it in its first line; None: ``indent``.
    """
    flat = _flat(value)
    if len(flat) + (indent if used is None else used) < WIDTH or not value:
        return flat
    pad = " " * (indent + 4)
    if isinstance(value, Mapping):
        named = all(str(key).isidentifier() for key in value)
        marks = ("dict(", ")") if named else ("{", "}")
        heads = [f"{key}=" if named else f"{_flat(key)}: " for key in value]
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        marks = ("[", "]") if isinstance(value, list) else ("(", ")")
        heads, parts = [""] * len(value), list(value)
    else:
        return flat
    lines = [
        f"{pad}{head}{source(part, indent + 4, indent + 4 + len(head))},\n"
        for head, part in zip(heads, parts, strict=True)
    ]
    return f"{marks[0]}\n{''.join(lines)}{' ' * indent}{marks[1]}"


def _flat(value: Any) -> str:
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        if all(str(key).isidentifier() for key in value):
            return f"dict({', '.join(f'{key}={_flat(part)}' for key, part in value.items())})"
        return f"{{{', '.join(f'{_flat(k)}: {_flat(part)}' for k, part in value.items())}}}"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(_flat, value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else f"float('{value}')"
    raise ConfigError(
        "a value of a data pipeline is plain", value=value, fix="write data.py by hand"
    )
