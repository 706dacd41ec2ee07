"""Export: in flows a checkpoint of ours or of other code, out flows its student in one file.

``pth`` is what plain MMDetection and MMSegmentation load, ``safetensors`` is for everything else,
and ``onnx`` (``engine.onnx``) is a segmentation student that runs without PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from fourierkd.distill.checkpoint import (
    EMA_KEY,
    SAFETENSORS,
    export_student,
    load_checkpoint,
    load_state_dict,
)
from fourierkd.distill.foreign import OURS, layout_of
from fourierkd.distill.model_config import build_model, student_config
from fourierkd.distill.registry import SCOPE
from fourierkd.distill.teacher import load_strictly
from fourierkd.engine.config import config_text, load_config, read_config
from fourierkd.errors import CheckpointError, ConfigError, near
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

    Returns:
        What ``export_student`` or ``export_onnx`` says; ``checked``: the config that the weights
        fit, or None; ``averaged``: whether they are the averaged ones of EMAHook.

    Raises:
        CheckpointError: the checkpoint is missing, unsafe, or does not fit the config.
        ConfigError: the format, the config or the model does not allow it.
    """
    kind = check_format(out, file_format)
    if kind != "onnx" and (shape or image):
        raise ConfigError("--shape and --image belong to the ONNX export", value=kind)
    if shape is not None and min(shape) < 1:
        raise ConfigError("--shape is a height and a width from 1 on", value=shape)
    state = load_state_dict(checkpoint)
    found = config or _config_beside(Path(checkpoint), ours=layout_of(state) == OURS)
    model: BaseModel | None = None
    plain: dict[str, Any] | None = None
    if found is not None:
        plain = plain_config(found)
        model = build_model({**plain["model"], "_scope_": plain["default_scope"]}, role="student")
        load_strictly(model, str(checkpoint))
    if kind == "onnx":
        if model is None or plain is None:
            raise ConfigError(
                "the ONNX export builds the student, so it needs a config", fix="add --config"
            )
        from fourierkd.engine.onnx import export_onnx

        content = load_checkpoint(checkpoint)
        names = content.get("meta", {}).get("dataset_meta") or {}
        classes = tuple(names.get("classes", ()))
        report = export_onnx(model, plain, out, classes=classes, shape=shape, image=image)
        report |= {"layout": layout_of(state).name, "averaged": EMA_KEY in content}
    else:
        text = None if plain is None else config_text(plain)
        report = export_student(checkpoint, out, config_text=text, file_format=kind)
    return {**report, "checked": found}


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
    values = read_config(config)
    kind = str((values.get("model") or {}).get("type", ""))
    if kind.rpartition(".")[2] == "Distiller":
        return student_config(load_config(config).to_dict())
    if not kind:
        raise ConfigError("a config has a model with a type", value=config)
    package = config.partition("::")[0] if "::" in config else SCOPE
    scope = kind.rpartition(".")[0] or values.get("default_scope") or package
    model = {"_scope_": scope, **values["model"]}
    return student_config({**values, "model": {"student": model}})


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
