"""ONNX: in flows a built segmentation student, out flows a file that ran in onnxruntime.

The graph takes images as the student's data preprocessor gives them and returns logits at the
images' size. The file is written only after onnxruntime agreed with PyTorch on a test image.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from fourierkd.distill.teacher import pixel_statistics
from fourierkd.errors import CheckpointError, ConfigError, DataError
from fourierkd.fingerprint import file_sha256
from fourierkd.run_dir import write_atomic

OPSET = 18
TOLERANCE = 1e-4  # of the largest logit; float32 convolutions of other libraries differ by 1e-6
NEEDS = ("onnx", "onnxruntime", "onnxscript")


class _Logits(nn.Module):
    """Preprocessed images (N, 3, H, W) -> logits (N, classes, H, W)."""

    def __init__(self, model: Any, shape: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.metas = [{"img_shape": shape, "ori_shape": shape, "pad_shape": shape}]

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model.encode_decode(image, self.metas)
        return logits


def export_onnx(
    model: BaseModel,
    config: Mapping[str, Any],
    out: str | Path,
    *,
    classes: Sequence[str] = (),
    shape: tuple[int, int] | None = None,
    image: str | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Write ``model`` as ONNX, for one input size and any batch size.

    Args:
        model: an MMSegmentation ``EncoderDecoder`` with its weights.
        config: its own config (``student_config``); names the test images.
        classes: their names, kept in the file.
        shape: (H, W); None: the size its preprocessor or its test pipeline gives.
        image: the file to try it on; None: the first image of the config's test split where the
            files are there, else random pixels of a fixed seed.
        tolerance: largest difference allowed, as a share of the largest logit.

    Returns:
        ``out``, ``shape``, ``image`` (what it was tried on), ``max_difference`` and ``agreement``
        (share of pixels with the same class), ``parameters``, ``bytes``, ``sha256``.

    Raises:
        ConfigError: a detector or another model, no size, or the extra ``onnx`` is not installed.
        DataError: the image cannot be read.
        CheckpointError: onnxruntime gives other logits.
    """
    if not hasattr(model, "encode_decode"):
        raise ConfigError(
            "the ONNX export is for segmentation students (mmseg.EncoderDecoder)",
            value=type(model).__name__,
            fix="export a detector as pth, and use MMDeploy",
        )
    for package in NEEDS:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ConfigError(
                f"the ONNX export needs {package}", fix="pip install 'fourierkd[onnx]'"
            ) from error
    size = shape or _size(model, config)
    pixels, tried_on = _test_image(config, image, size)
    inputs = _preprocessed(model, pixels)
    wrapped = _Logits(model, size).eval()
    proto = _traced(wrapped, inputs)
    _describe(proto, model, classes)
    data = proto.SerializeToString()
    with torch.no_grad():
        expected = wrapped(inputs).numpy()
    given = _run(data, inputs.numpy())
    difference = float(np.abs(given - expected).max())
    limit = tolerance * float(np.abs(expected).max())
    if not difference <= limit:
        raise CheckpointError(
            f"onnxruntime must give PyTorch's logits within {limit:.2g} on {tried_on}",
            value=difference,
            fix="nothing was written; report the model's config",
        )
    write_atomic(Path(out), data)
    return {
        "out": str(out),
        "config": None,
        "shape": size,
        "image": tried_on,
        "max_difference": difference,
        "agreement": float((given.argmax(1) == expected.argmax(1)).mean()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": len(data),
        "sha256": file_sha256(out),
    }


def _traced(model: nn.Module, inputs: Tensor) -> Any:
    """The model's graph; the exporter's progress report is not for the user's terminal."""
    batch = torch.export.Dim("batch", min=1)
    example = inputs.expand(2, -1, -1, -1).contiguous()  # a size of 1 would be taken as fixed
    silent = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(silent), redirect_stderr(silent):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: batch},),
        )
    assert program is not None
    return program.model_proto


def _describe(proto: Any, model: BaseModel, classes: Sequence[str]) -> None:
    """Store in the file, as JSON values, what must be done to an image (BGR), and class names."""
    for key, value in {**pixel_statistics(model.data_preprocessor), "classes": classes}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)


def _run(data: bytes, inputs: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": inputs})
    return np.asarray(logits)


def _size(model: BaseModel, config: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of the preprocessor, or of the ``Resize`` of the test pipeline (W, H there)."""
    size = getattr(model.data_preprocessor, "size", None)
    if size is not None:
        return int(size[0]), int(size[1])
    for step in config.get("test_pipeline") or []:
        if str(step.get("type", "")).rpartition(".")[2] == "Resize" and step.get("scale"):
            width, height = step["scale"]
            return int(height), int(width)
    raise ConfigError("the ONNX model has one input size", fix="add --shape HEIGHT WIDTH")


def _test_image(
    config: Mapping[str, Any], image: str | None, size: tuple[int, int]
) -> tuple[np.ndarray, str]:
    """Pixels (H, W, 3), BGR, uint8, and what they are."""
    import mmcv

    name = image or _first_test_image(config)
    if name is None:
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        return pixels, "random pixels"
    try:
        pixels = mmcv.imread(name)
    except OSError as error:
        raise DataError("the test image cannot be read", value=name) from error
    if pixels is None:
        raise DataError("the test image cannot be read", value=name)
    return mmcv.imresize(pixels, (size[1], size[0])), name


def _first_test_image(config: Mapping[str, Any]) -> str | None:
    from mmseg.registry import DATASETS

    data = (config.get("test_dataloader") or {}).get("dataset")
    if not data:
        return None
    try:
        path = DATASETS.build({**data, "_scope_": "mmseg"}).get_data_info(0)["img_path"]
    except (OSError, ValueError, KeyError, IndexError):  # the data set is not here
        return None
    return str(path) if Path(path).is_file() else None


def _preprocessed(model: BaseModel, pixels: np.ndarray) -> Tensor:
    """(1, 3, H, W) as the student gets it."""
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    batch: Tensor = model.data_preprocessor({"inputs": [image]}, False)["inputs"]
    return batch
