"""``fourierkd new``: in flow two model configs and a data root, out flows a folder of run configs.

The folder appears whole or not at all. What cannot be decided is one line that says the next step.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fourierkd.commands.bench import build_pair
from fourierkd.commands.pair_files import Pair, pair_files
from fourierkd.commands.pair_models import (
    DETECTION,
    Side,
    check_same_pixels,
    read_side,
    ready_teacher_side,
    set_classes,
    task_of,
)
from fourierkd.commands.pair_words import (
    data_words,
    model_words,
    said_of_data,
    schedule_words,
    tap_words,
)
from fourierkd.config.load import RunConfig, load_config
from fourierkd.data.check import leaves
from fourierkd.data.find import FORMATS, find_data
from fourierkd.data.folders import flush_tree
from fourierkd.data.found import Found
from fourierkd.distill.pretrained import is_local, pretrained_names
from fourierkd.distill.refusals import told_in_one_line
from fourierkd.distill.roles import find_roles
from fourierkd.distill.teacher import RANDOM
from fourierkd.engine.class_counts import training_classes
from fourierkd.engine.prepare import resolve_config
from fourierkd.errors import ConfigError
from fourierkd.methods import read_method

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
CITYSCAPES = 19
METRICS = {"IoUMetric": "mIoU", "CocoMetric": "bbox_mAP"}
METHODS = ("published", "cwd_logits", "iou")  # the first that compares a role of the pair
IN_FOLDER = "{{{{fileDirname}}}}/{split}.json"  # MMEngine puts the config's folder in


@dataclass
class New:
    """What was written.

    Attributes:
        folder: of the files.
        files: their names.
        facts: what was found and decided: name -> text.
        said: what is not as one may expect, a sentence each.
        checkpoint: of the teacher; None where a study trains it.
    """

    folder: Path
    files: list[str]
    facts: dict[str, str]
    said: list[str]
    checkpoint: str | None

    @property
    def pair(self) -> Path:
        """The run config of the pair."""
        return self.folder / "fourier.py"

    def options(self) -> dict[str, Any]:
        """Options under which the pair is built without a download: random weights in place of
        those that are not here."""
        options: dict[str, Any] = {}
        if self.checkpoint is None or not is_local(self.checkpoint):
            options["model.teacher.checkpoint"] = RANDOM
        if not all(map(is_local, pretrained_names(load_config(self.pair).model.student))):
            options["model.pretrained"] = False
        return options


def new_pair(
    name: str,
    *,
    student: str,
    teacher: str,
    checkpoint: str | None = None,
    data: str | None = None,
    kind: str | None = None,
    classes: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> New:
    """Write the run configs and the study config of a pair to a new folder.

    Args:
        name: the folder, which is not there yet.
        student: a config of MMDetection or MMSegmentation: a path or ``mmdet::name``.
        teacher: another.
        checkpoint: the teacher's weights, a file or an address; None: a study trains it.
        data: a data root; None: the student's config names its data.
        kind: its format, of FORMATS.
        classes: names of the labels of masks.
        progress: told each step before it starts.

    Raises:
        FourierKDError: something is wrong or cannot be decided; then nothing is written.
    """
    folder = _check_name(name)
    if (data is None) != (kind is None):
        raise ConfigError(
            "--data and --format come together", value=data or kind, fix="give both, or none"
        )
    if data is None and classes:
        raise ConfigError("--classes are those of --data", value=" ".join(classes))
    progress("read the configs")
    sides = read_side("student", student), read_side("teacher", teacher)
    _check_own(sides[0])
    missing = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        found = None
        if data is not None and kind is not None:
            progress("look for the data")
            found = find_data(
                Path(data), kind, folder=building, ann_file=IN_FOLDER, classes=classes
            )
        new = _write(building, folder, *sides, checkpoint, found, progress)
        if folder.exists():
            raise ConfigError("a new pair is a new folder", value=name, fix="give another name")
        building.chmod(0o755)  # a temporary folder is its owner's alone
        flush_tree(building)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
        for parent in missing:
            with suppress(OSError):  # where the pair is in it
                parent.rmdir()
    return new


def _write(
    building: Path,
    folder: Path,
    student: Side,
    teacher: Side,
    checkpoint: str | None,
    found: Found | None,
    progress: Callable[[str], None],
) -> New:
    """Decide, write and build what was written."""
    count = _class_count(student, found)
    set_classes(student, count)
    progress("build the student")
    models: list[BaseModel] = [student.build()]
    progress("build the teacher")
    fits = "trained by the study"
    if checkpoint is None:
        set_classes(teacher, count)
        models.append(teacher.build())
    else:
        model, fits = ready_teacher_side(teacher, checkpoint, count)
        models.append(model)
    task = _one_task(models, found)
    pixels = check_same_pixels(*models, trained=checkpoint is not None)
    progress("look for taps")
    roles = find_roles(*models)
    words = [model_words(model) for model in models]
    del models
    said = list(roles.said)
    own_schedule = _keeps_schedule(student, teacher, found)
    if checkpoint is None and not own_schedule:
        said.append(
            "the teacher is trained by the student's schedule: its own config is for other data, "
            "or has no schedule"
        )
    pair = Pair(
        name=folder.name,
        student=student,
        teacher=teacher,
        task=task,
        taps=roles.taps,
        method=next(m for m in METHODS if set(read_method(m).losses) & set(roles.taps)),
        metric=_metric(student, task, found),
        checkpoint=checkpoint,
        found=found,
        own_schedule=own_schedule,
        tested=found is not None or bool(student.config.get("test_dataloader")),
    )
    files = pair_files(pair, building)
    for file, text in files.items():
        (building / file).write_text(text, encoding="utf-8")
    progress("build the pair")
    config = _check_written(building, files)
    said += said_of_data(config, found)
    facts = {
        "data": data_words(found, config, count),
        "student": f"{student.name}: {words[0]}",
        "teacher": f"{teacher.name}: {words[1]}",
        "checkpoint": f"{checkpoint or 'none'}: {fits}",
        "input": f"the same for both: {pixels}",
        **{f"tap {role}": tap_words(role, roles) for role in roles.taps},
        "method": f"{pair.method}; `fourierkd methods {folder / 'fourier.py'}` lists the others",
        "schedule": schedule_words(config),
    }
    return New(folder, sorted(p.name for p in building.iterdir()), facts, said, checkpoint)


def _check_name(name: str) -> Path:
    folder = Path(name)
    if not NAME.fullmatch(folder.name):
        raise ConfigError(
            "a pair has a plain name of letters, digits, _ and -, as its study gets it",
            value=name,
            fix="give another name",
        )
    if folder.exists() or folder.is_symlink():
        raise ConfigError(
            "a new pair is a new folder, and nothing is replaced",
            value=name,
            fix="give another name, or move that away",
        )
    return folder


def _check_own(student: Side) -> None:
    """What the student's config must have: data, whose pipelines are used, and a schedule."""
    needed = ("train_dataloader", "val_dataloader", "val_evaluator", "train_cfg", "optim_wrapper")
    missing = [key for key in needed if not student.config.get(key)]
    if missing:
        raise ConfigError(
            "the student's config has data pipelines and a schedule of its own",
            value=f"{student.name} without {', '.join(missing)}",
            fix="start it from one that has, such as mmseg::pspnet/... or mmdet::retinanet/...",
        )


def _class_count(student: Side, found: Found | None) -> int:
    if found is not None:
        return len(found.classes) or CITYSCAPES
    loader = student.config["train_dataloader"]
    scoped = {"dataset": _scoped_leaf(loader["dataset"], student.scope)}
    count = training_classes(scoped)
    if count is None:
        raise ConfigError(
            "the student's training data name their classes",
            value=scoped["dataset"].get("type"),
            fix="set metainfo=dict(classes=(...)) in its config, or give --data",
        )
    return count


def _scoped_leaf(dataset: Mapping[str, Any], scope: str) -> dict[str, Any]:
    leaf = dict(next(leaves(dataset)))
    if "." not in str(leaf.get("type")):
        leaf["type"] = f"{scope}.{leaf.get('type')}"
    return leaf


def _one_task(models: Sequence[BaseModel], found: Found | None) -> str:
    tasks = [task_of(m, role) for m, role in zip(models, ("student", "teacher"), strict=True)]
    if tasks[0] != tasks[1]:
        raise ConfigError(
            "student and teacher are of one task", value=tasks, fix="name another teacher"
        )
    if found is not None and FORMATS[found.format] != tasks[0]:
        known = [name for name, task in FORMATS.items() if task == tasks[0]]
        raise ConfigError(
            f"data of --format {found.format} are for {FORMATS[found.format]}, and the models for "
            f"{tasks[0]}",
            value=found.format,
            fix=f"give --format {' or '.join(known)}",
        )
    return tasks[0]


def _keeps_schedule(student: Side, teacher: Side, found: Found | None) -> bool:
    """Whether a teacher's own config can train it on the student's data."""
    if any(not teacher.config.get(key) for key in ("train_cfg", "optim_wrapper")):
        return False
    if found is not None:
        return True
    data = []
    for side in (student, teacher):
        loader = side.config.get("train_dataloader")
        if not loader:
            return False
        leaf = _scoped_leaf(loader["dataset"], side.scope)
        data.append([leaf.get(key) for key in ("type", "data_root", "ann_file", "data_prefix")])
    return data[0] == data[1]


def _metric(student: Side, task: str, found: Found | None) -> str:
    if found is not None:
        return "bbox_mAP" if task == DETECTION else "mIoU"
    own = student.config.get("metric")
    if isinstance(own, str):
        return own
    evaluator = student.config["val_evaluator"]
    for part in evaluator if isinstance(evaluator, list | tuple) else [evaluator]:
        kind = str(part.get("type")).rpartition(".")[2]
        if kind in METRICS:
            return METRICS[kind]
    raise ConfigError(
        "it must be known which metric is maximised",
        value=kind,
        fix="add metric = '...' to the student's config",
    )


def _check_written(folder: Path, files: Mapping[str, str]) -> RunConfig:
    """Read what was written as a run does, and build the pair with a teacher of random weights."""
    configs = {}
    for file in ("student.py", "fourier.py", "teacher.py"):
        if file in files:
            configs[file] = resolve_config(folder / file, {"model.pretrained": False})
    with told_in_one_line("the written pair must be built", fix="correct the models' configs"):
        build_pair(load_config(folder / "fourier.py", {"model.pretrained": False}))
    return configs["student.py"]


def data_is_there(config: str | Path) -> bool:
    """Whether every folder that a run config's data sets name is there."""
    cfg = load_config(config)
    for key in ("train_dataloader", "val_dataloader"):
        for leaf in leaves(cfg[key].dataset.to_dict()):
            if not Path(leaf.get("data_root") or ".").is_dir():
                return False
    return True


def print_new(new: New) -> None:
    """What was written, found and decided."""
    console = Console()
    console.print(f"{new.folder}: {', '.join(new.files)}", highlight=False, markup=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in new.facts.items():
        table.add_row(name, Text(text))
    for text in new.said:
        table.add_row("note", Text(text))
    console.print(table)


def next_commands(new: New) -> list[str]:
    """What a user types next."""
    runs = f"work_dirs/{new.folder.name}"
    train = f"fourierkd train {new.pair} --work-dir {runs}_fourier"
    study = f"python sweeps/run.py study {new.folder / 'study.py'}"
    if new.checkpoint is not None:
        return [train, study]
    teacher = f"fourierkd train {new.folder / 'teacher.py'} --work-dir {runs}_teacher"
    best = f"--cfg-options model.teacher.checkpoint={runs}_teacher/checkpoints/best.pth"
    return [study, teacher, f"{train} {best}"]
