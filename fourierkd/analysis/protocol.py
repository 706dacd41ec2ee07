"""What a score was made under: in flows a resolved run config, out flows what a published number
must share with it to be comparable.

Models have the names of their packages' configs without what follows the model: ``pspnet_r18-d8``
of ``mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py``, and
``retinanet_r18_fpn+MobileNetV2`` where a config puts another backbone in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

Config = Mapping[str, Any]
# what follows a model in its config's name: 2x_coco, ms-640-800-3x_coco, 4xb2-40k_cityscapes-...
_SCHEDULE = re.compile(r"_(?=\d+x|ms-)")
_COCO = re.compile(r"instances_((?:train|val|test)2017)\.json")
# overrides that leave a model what it is: padding, and what comes with another backbone
_SAME_MODEL = re.compile(r"data_preprocessor\..*|backbone|neck\.in_channels")


class Protocol(NamedTuple):
    """Of one run; an empty text: its config does not say.

    Attributes:
        student, teacher: names of models; no teacher: the student is trained alone.
        teacher_schedule: what follows the model in the name of the teacher's config, ``2x_coco``:
            the same model has other weights by it.
        starts_from: modules that the student takes over from the teacher, or ``nothing``.
        schedule: ``24 epochs`` or ``40000 iterations``.
        batch: images of a step, over all processes.
        size: of the crops, height x width, or where there are none what images are resized to.
        trained_on, split: data set and part of it, of training and of the score.
        scored_at: what images are resized to for the score.
        metric: its name.
        changes: what makes the pair another one than its name says.
    """

    student: str
    teacher: str
    teacher_schedule: str
    starts_from: str
    schedule: str
    batch: str
    size: str
    trained_on: str
    split: str
    scored_at: str
    metric: str
    changes: str = ""


def protocol(config: Config, *, split: str, metric: str, ranks: int = 1) -> Protocol:
    """The protocol of a run.

    Args:
        config: resolved, as ``config.py`` of its folder has it.
        split: ``val`` or ``test``: what it was scored on.
        metric: what its score is of.
        ranks: processes that trained it.
    """
    model, loader = _dict(config.get("model")), _dict(config.get("train_dataloader"))
    alone = not model.get("losses")
    teacher = {} if alone else _dict(model.get("teacher"))
    teacher_name, teacher_schedule = _name(teacher.get("model"))
    scored = _dict(config.get(f"{split}_dataloader"))
    return Protocol(
        student=_name(model.get("student"))[0],
        teacher=teacher_name,
        teacher_schedule=teacher_schedule,
        starts_from=" + ".join(sorted(model.get("inherit") or ())) or "nothing",
        schedule=_schedule(_dict(config.get("train_cfg")), loader),
        batch=_batch(loader, _dict(config.get("optim_wrapper")), ranks),
        size=_size(loader),
        trained_on=_data(loader),
        split=_data(scored),
        scored_at=_size(scored),
        metric=metric,
        changes=", ".join(_changes(model, teacher)),
    )


def _dict(value: Any) -> Config:
    return value if isinstance(value, Mapping) else {}


def _name(spec: Any) -> tuple[str, str]:
    """Of a model that a package's config names, and what follows it there; empty for any other."""
    overrides = _dict(_dict(spec).get("overrides"))
    config = _dict(spec).get("config", spec)
    if not isinstance(config, str) or "::" not in config:
        return "", ""
    stem = PurePosixPath(config.partition("::")[2]).stem
    name, *rest = _SCHEDULE.split(stem, maxsplit=1)
    backbone = _dict(overrides.get("backbone")).get("type")
    return f"{name}+{backbone}" if backbone else name, "".join(rest)


def _schedule(train: Config, loader: Config) -> str:
    """An epoch of data that are repeated is several."""
    if train.get("max_epochs"):
        return f"{train['max_epochs'] * _dataset(loader)[1]} epochs"
    return f"{train['max_iters']} iterations" if train.get("max_iters") else ""


def _batch(loader: Config, optimizer: Config, ranks: int) -> str:
    size = loader.get("batch_size")
    return str(size * ranks * optimizer.get("accumulative_counts", 1)) if size else ""


def _dataset(loader: Config) -> tuple[Config, int]:
    """The innermost data set, and how often others around it repeat it."""
    found, times = _dict(loader.get("dataset")), 1
    while "pipeline" not in found and isinstance(found.get("dataset"), Mapping):
        times *= found.get("times", 1)
        found = found["dataset"]
    return found, times


def _size(loader: Config) -> str:
    steps = [_dict(step) for step in _dataset(loader)[0].get("pipeline") or ()]
    for kind, key in (("RandomCrop", "crop_size"), ("Resize", "scale")):
        for step in steps:
            if str(step.get("type")).rpartition(".")[2] == kind and key in step:
                side = step[key]
                return "x".join(map(str, side)) if isinstance(side, list | tuple) else str(side)
    return ""


def _data(loader: Config) -> str:
    """``COCO val2017``, ``Cityscapes val``; empty for data that nothing is published of."""
    found, _ = _dataset(loader)
    kind, prefix = str(found.get("type")).rpartition(".")[2], _dict(found.get("data_prefix"))
    name = ""
    if kind == "CityscapesDataset":
        name = f"Cityscapes {PurePosixPath(str(prefix.get('img_path'))).name}"
    elif kind == "CocoDataset" and not found.get("metainfo"):
        part = _COCO.fullmatch(PurePosixPath(str(found.get("ann_file"))).name)
        name = f"COCO {part[1]}" if part else ""
    images = found.get("indices")
    return name if images is None or not name else f"{name}, a part of its images"


def _changes(model: Config, teacher: Config) -> Iterator[str]:
    for role, spec in (("student", model.get("student")), ("teacher", teacher.get("model"))):
        for key in _dict(_dict(spec).get("overrides")):
            if not _SAME_MODEL.fullmatch(key):
                yield f"the {role}'s {key}"
    if model.get("pretrained", True) is False:
        yield "the student's backbone is not pretrained"
    if teacher.get("checkpoint") == "random":
        yield "the teacher's weights are random"
    for key in ("control", "nuisance"):
        if teacher.get(key):
            yield f"the teacher has a {key}"
