"""Checkpoints: in flow files of any origin, out flow tensors, a digest, and the student alone.

Nothing in a file is ever run: PyTorch's weights-only unpickler reads it, and the only additions
are NumPy's data types and inert stand-ins for what MMEngine stores beside the tensors.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from fourierkd.distill.foreign import layout_of
from fourierkd.errors import CheckpointError
from fourierkd.fingerprint import file_sha256
from fourierkd.run_dir import write_atomic

SAFETENSORS = ".safetensors"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # buffers, not parameters
EMA_KEY = "ema_state_dict"  # of EMAHook, which puts the averaged weights under `state_dict`


class _Inert:
    """Stands in for an object of a checkpoint's log: takes any construction, holds nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _allowed() -> list[tuple[Callable[..., Any], str] | Callable[..., Any]]:
    """What may stand in a checkpoint beyond tensors and plain data; none of it can run code.

    MMEngine's message hub pickles ``HistoryBuffer`` objects with ``getattr`` calls in them: both
    become inert.
    """
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    arrays = [(multiarray._reconstruct, "_reconstruct"), (multiarray.scalar, "scalar")]
    return [
        (_Inert, "mmengine.logging.history_buffer.HistoryBuffer"),
        (_Inert, "builtins.getattr"),
        (_Inert, "__builtin__.getattr"),
        *((f, f"numpy.{m}.multiarray.{n}") for f, n in arrays for m in ("core", "_core")),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdgFDSU"},
        slice,
    ]


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The whole content of a checkpoint on the CPU, read without running anything in it.

    Raises:
        CheckpointError: no such file, not a checkpoint, or it carries objects that are not data.
    """
    name = os.fspath(path)
    if "://" in name:
        raise CheckpointError("a checkpoint is a local file", value=name, fix="download it first")
    try:
        if name.endswith(SAFETENSORS):
            return _read_safetensors(path)
        with torch.serialization.safe_globals(_allowed()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError("no such checkpoint", value=name, fix="check the path") from error
    except (IsADirectoryError, PermissionError) as error:
        raise CheckpointError("a checkpoint is a readable file", value=name) from error
    except Exception as error:  # a damaged file makes torch.load raise nearly anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign:
            raise CheckpointError(
                f"the checkpoint carries code or objects beyond tensors ({foreign[1]}), not run",
                value=name,
                fix="save its state_dict alone, where you trust it",
            ) from error
        raise CheckpointError(
            "the file is not a checkpoint, or it is damaged", value=name, fix="fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            "a checkpoint holds a dict of tensors",
            value=f"{type(content).__name__} in {name}",
        )
    return content


class Checkpoint(NamedTuple):
    """A checkpoint that was read: its file, all of its content, and the tensors in it."""

    path: str
    content: dict[str, Any]
    state: dict[str, Tensor]


def read_checkpoint(checkpoint: str | os.PathLike[str] | Checkpoint) -> Checkpoint:
    """A checkpoint's content and tensors; one that was read is not read again.

    Raises:
        CheckpointError: as ``load_checkpoint``; or it holds no tensors.
    """
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    content = load_checkpoint(checkpoint)
    return Checkpoint(os.fspath(checkpoint), content, _tensors(content, checkpoint))


def load_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint: a bare state dict, or what is under ``state_dict`` or ``model``.

    Raises:
        CheckpointError: as ``read_checkpoint``.
    """
    return read_checkpoint(path).state


def _tensors(content: dict[str, Any], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    state: Any = content.get("state_dict", content.get("model", content))
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise CheckpointError(
            "a checkpoint holds tensors, bare or under 'state_dict'", value=os.fspath(path)
        )
    if all(key.startswith("module.") for key in state):  # saved from a data-parallel wrapper
        state = _stripped(state, "module.")
    tensors: dict[str, Tensor] = state
    return tensors


def dataset_meta(content: Mapping[str, Any]) -> dict[str, Any]:
    """Class names and palette of a checkpoint of any origin; empty where it has none."""
    meta = content.get("meta")
    names = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    return dict(names) if isinstance(names, Mapping) else {}


def student_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The student's keys, of our checkpoints and of MMRazor's; a plain model's pass through."""
    prefix = layout_of(state).prefix
    if not prefix:
        return state if isinstance(state, OrderedDict) else OrderedDict(state)
    return _stripped(state, prefix)


def export_student(
    checkpoint: str | os.PathLike[str] | Checkpoint,
    out: str | os.PathLike[str],
    *,
    meta: Mapping[str, Any] | None = None,
    config_text: str | None = None,
    file_format: str = "pth",
) -> dict[str, Any]:
    """Write the student alone, as plain MMDetection and MMSegmentation load it.

    Args:
        checkpoint: of a Distiller's run, of MMRazor or the official code, or of a plain model.
        out: the new file: ``state_dict`` and ``meta``.
        meta: added to the class names and palette that the checkpoint carries.
        config_text: text of ``student_config``; written beside ``out`` with the suffix ``.py``.
        file_format: "pth", or "safetensors": tensors, with ``meta`` as JSON in its header.

    Returns:
        ``out``, ``config`` (path or None), ``layout`` (whose checkpoint it was),
        ``averaged`` (whether its weights are the averaged ones of EMAHook), ``tensors``,
        ``parameters`` (numbers in them, the running statistics of normalisation left out),
        ``dropped`` (tensors of teacher, losses and connectors), ``bytes`` and ``sha256`` of the new
        file.

    Raises:
        CheckpointError: the checkpoint is missing, unsafe or holds no tensors.
    """
    out = Path(out)
    _, content, state = read_checkpoint(checkpoint)
    student = student_state_dict(state)
    info: dict[str, Any] = {"dataset_meta": dataset_meta(content), **(meta or {})}
    for old, key in (("CLASSES", "classes"), ("PALETTE", "palette")):
        if key in info["dataset_meta"]:
            info.setdefault(old, info["dataset_meta"][key])
    if file_format == "safetensors":
        write_atomic(out, _safetensors(student, info))
    else:
        save({"meta": info, "state_dict": student}, out)
    config = out.with_suffix(".py") if config_text is not None else None
    if config is not None and config_text is not None:
        write_atomic(config, config_text)
    return {
        "out": str(out),
        "config": None if config is None else str(config),
        "layout": layout_of(state).name,
        "averaged": EMA_KEY in content,
        "tensors": len(student),
        "parameters": sum(v.numel() for k, v in student.items() if not k.endswith(STATISTICS)),
        "dropped": len(state) - len(student),
        "bytes": out.stat().st_size,
        "sha256": file_sha256(out),
    }


def _safetensors(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """A safetensors file: its header holds strings only, so ``meta`` is JSON there."""
    header = {"format": "pt", "meta": json.dumps(meta, default=_plain)}
    versions = getattr(state, "_metadata", None)
    if versions is not None:  # of the layers: old formats are upgraded by them
        header["versions"] = json.dumps(versions)
    tensors = {key: value.clone().contiguous() for key, value in state.items()}  # none may alias
    return safetensors.torch.save(tensors, header)


def _plain(value: Any) -> Any:
    """NumPy's arrays and numbers as JSON takes them."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def _read_safetensors(path: str | os.PathLike[str]) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        state = OrderedDict((key, file.get_tensor(key)) for key in file.keys())  # noqa: SIM118 - no dict
    if "versions" in header:
        state._metadata = json.loads(header["versions"])  # type: ignore[attr-defined]
    meta = json.loads(header["meta"]) if "meta" in header else {}
    return {"meta": meta, "state_dict": state}


def _stripped(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    stripped = OrderedDict((k[len(prefix) :], v) for k, v in state.items() if k.startswith(prefix))
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:  # versions of the layers: old formats are upgraded by them
        stripped._metadata = {  # type: ignore[attr-defined]
            key[len(prefix) :]: value for key, value in metadata.items() if key.startswith(prefix)
        }
    return stripped


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint atomically."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomic(path, buffer.getvalue())
