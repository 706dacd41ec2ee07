"""Export: in flows a checkpoint of ours or of other code, out flows its student in one file.

``pth`` is what plain MMDetection and MMSegmentation load, ``safetensors`` is for everything else,
and ``onnx`` (``commands.onnx``) is a segmentation student that runs without PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from fourierkd.config.load import load_config
from fourierkd.config.scopes import SCOPES
from fourierkd.distill.checkpoint import (
    EMA_KEY,
    SAFETENSORS,
    Checkpoint,
    dataset_meta,
    export_student,
    read_checkpoint,
)
from fourierkd.distill.config_files import read_file
from fourierkd.distill.foreign import OURS, layout_of
from fourierkd.distill.model_config import build_model, student_config
from fourierkd.distill.registry import SCOPE, registered_only
from fourierkd.distill.teacher import load_strictly
from fourierkd.errors import CheckpointError, ConfigError, near
from fourierkd.literals import config_text, read_literals
from fourierkd.run_dir import RunDir

SUFFIXES = {".pth": "pth", ".pt": "pth", SAFETENSORS: "safetensors", ".onnx": "onnx"}
FORMATS = ("pth", "safetensors", "onnx")


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    file_format: str | None = None,
    config: str | None = None,
    shape: tuple[int, int] | None = None,
    image: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the student in ``checkpoint`` to ``out``, after a strict check against its config.

    Args:
        checkpoint: of a run, of MMRazor or the official code (``architecture.*``), or of a plain
            model.
        file_format: one of FORMATS; None: by the suffix of ``out``.
        config: a run config, or the student's own (a path or ``mmdet::name``); None: that of the
            run folder, or, for a plain model, the ``.py`` beside it. Without any, keys are stripped
            and nothing is checked.
        shape: (H, W) of the ONNX model's input.
        image: the file it is tried on.
        force: replace files that are there already.

    Returns:
        What ``export_student`` or ``export_onnx`` says; ``checked``: the config that the weights
        fit, or None; ``averaged``: whether they are the averaged ones of EMAHook.

    Raises:
        CheckpointError: the checkpoint is missing, unsafe, or does not fit the config.
        ConfigError: the format, the config, the model or a file in the way does not allow it.
    """
    kind = check_format(out, file_format)
    if kind != "onnx" and (shape or image):
        raise ConfigError("--shape and --image belong to the ONNX export", value=kind)
    if shape is not None and min(shape) < 1:
        raise ConfigError("--shape is a height and a width from 1 on", value=shape)
    read = read_checkpoint(checkpoint)
    found = config or _config_beside(Path(checkpoint), ours=layout_of(read.state) == OURS)
    if not force:
        refuse_to_replace(Path(out), config=found is not None and kind != "onnx")
    named = config is not None
    # what lies beside a checkpoint came with it: nobody asked for its code to run
    with nullcontext() if named else registered_only():
        report = _export(read, out, kind, found, named=named, shape=shape, image=image)
    return {**report, "checked": found}


def refuse_to_replace(out: Path, *, config: bool) -> None:
    """ConfigError where ``out``, or the config beside it, is there already."""
    for path in (out, out.with_suffix(".py")) if config else (out,):
        if os.path.lexists(path):
            raise ConfigError(
                "an export replaces no file",
                value=str(path),
                fix="choose another --out, or --force",
            )


def _export(
    checkpoint: Checkpoint,
    out: str | Path,
    kind: str,
    found: str | None,
    *,
    named: bool,
    shape: tuple[int, int] | None,
    image: str | None,
) -> dict[str, Any]:
    model: BaseModel | None = None
    plain: dict[str, Any] | None = None
    if found is not None:
        plain = plain_config(found) if named else received_config(found)
        try:
            model = build_model(
                {**plain["model"], "_scope_": plain["default_scope"]}, role="student"
            )
        except ConfigError as error:
            if named or "custom_imports" not in read_literals(Path(found)):
                raise
            raise ConfigError(
                f"modules of your own are imported from a config that you name ({error})",
                fix=f"add --config {found}",
            ) from error
        load_strictly(model, checkpoint)
    if kind == "onnx":
        if model is None or plain is None:
            raise ConfigError(
                "the ONNX export builds the student, so it needs a config", fix="add --config"
            )
        from fourierkd.commands.onnx import export_onnx

        classes = tuple(dataset_meta(checkpoint.content).get("classes", ()))
        report = export_onnx(model, plain, out, classes=classes, shape=shape, image=image)
        report |= {
            "layout": layout_of(checkpoint.state).name,
            "averaged": EMA_KEY in checkpoint.content,
        }
    else:
        text = None if plain is None else config_text(plain)
        report = export_student(checkpoint, out, config_text=text, file_format=kind)
    return report


def check_format(out: str | Path, file_format: str | None) -> str:
    """The format by name and suffix.

    Raises:
        ConfigError: neither says it, or they disagree.
    """
    by_suffix = SUFFIXES.get(Path(out).suffix)
    if file_format is not None and file_format not in FORMATS:
        raise ConfigError("unknown format", value=file_format, fix=near(file_format, FORMATS))
    if by_suffix is None and file_format is None:
        raise ConfigError(
            f"the suffix of --out names its format ({', '.join(SUFFIXES)})",
            value=str(out),
            fix="correct it, or add --format",
        )
    if by_suffix is not None and file_format is not None and by_suffix != file_format:
        raise ConfigError(
            f"--format {file_format} and the suffix of --out disagree",
            value=str(out),
            fix="leave --format out, or change the suffix",
        )
    return file_format or by_suffix or ""


def plain_config(config: str) -> dict[str, Any]:
    """The student alone as plain mmdet or mmseg reads it (``student_config``), from either kind.

    Raises:
        ConfigError: there is no such config, or it has no model.
    """
    values = read_file(config)
    if _is_distiller(values):
        return student_config(load_config(config).to_dict())
    return _of_plain_model(values, config)


def received_config(path: str) -> dict[str, Any]:
    """``plain_config`` of a file that nobody named: nothing in it, or that it names, is run.

    Raises:
        ConfigError: it is more than literals, or its student is of another file or package.
    """
    values = read_literals(Path(path))
    if not _is_distiller(values):
        plain = _of_plain_model(values, path)
    else:
        student = values["model"].get("student")
        name = student.get("config") if isinstance(student, dict) else student
        if isinstance(name, str) and "::" not in name:
            raise ConfigError(
                "a config of a student is run, and a file beside a checkpoint names this one",
                value=name,
                fix=f"where you trust both, name it: --config {path}",
            )
        plain = student_config(values)
    if plain["default_scope"] not in (SCOPE, *SCOPES):
        raise ConfigError(
            "a package is imported, and a file beside a checkpoint names this one",
            value=plain["default_scope"],
            fix=f"where you trust both, name it: --config {path}",
        )
    return plain


def _is_distiller(values: Mapping[str, Any]) -> bool:
    model = values.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    return isinstance(kind, str) and kind.rpartition(".")[2] == "Distiller"


def _of_plain_model(values: Mapping[str, Any], config: str) -> dict[str, Any]:
    model = values.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(kind, str) or not isinstance(model, dict):
        raise ConfigError("a config has a model with a type", value=config)
    package = config.partition("::")[0] if "::" in config else SCOPE
    scope = kind.rpartition(".")[0] or values.get("default_scope") or package
    return student_config({**values, "model": {"student": {"_scope_": scope, **model}}})


def _config_beside(checkpoint: Path, *, ours: bool) -> str | None:
    """The config that a checkpoint's place names: that of its run, or of an exported student."""
    run = RunDir(checkpoint.absolute().parent.parent).config
    beside = checkpoint.with_suffix(".py")
    if ours and not run.is_file():
        raise CheckpointError(
            "the config of the run must lie beside its checkpoints",
            value=str(run),
            fix="name it with --config",
        )
    if run.is_file():
        return str(run)
    return str(beside) if beside.is_file() else None
