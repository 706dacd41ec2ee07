"""The frozen teacher: in flow a model config, a checkpoint and taps; out flow feature maps.

It is a plain object, not an ``nn.Module``: a Distiller that holds it neither stores it in
checkpoints, nor hands it to DDP or the optimizer, nor switches it to training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from fourierkd.distill.checkpoint import Checkpoint, read_checkpoint, student_state_dict
from fourierkd.distill.compiled import compile_failures, compile_parts
from fourierkd.distill.controls import CONTROLS
from fourierkd.distill.fetch import fetch, is_address
from fourierkd.distill.model_config import ModelSpec, build_model, resolve_model
from fourierkd.distill.nuisance import Nuisance
from fourierkd.distill.taps import Level, Taps, isolated_random_state, probe
from fourierkd.distill.teacher_maps import Maps, TeacherMaps
from fourierkd.errors import CheckpointError, ConfigError
from fourierkd.fingerprint import file_sha256

RANDOM = "random"


class FrozenTeacher:
    """A model in eval mode without gradients, run only as far as its last tap.

    Args:
        model: one of the three forms of a model config.
        checkpoint: path of its weights, or an http(s) address, from which they are downloaded once;
            the word "random" for a teacher that knows nothing (a negative control).
        taps: module paths.
        heads: paths of detection heads, whose scores and boxes are asked for.
        compile: compile its parts by ``torch.compile`` at the first call (minutes, then faster).
        nuisance: config of a ``Nuisance`` that is added to the maps of all taps; None for none.
        control: "other_image" or "random_phases", what a negative control does to all it gives
            (``controls``); None for none.

    Attributes:
        sha256: digest of the checkpoint file; None for a random teacher.
        control: the name of its negative control, or None.
        identity: what its maps depend on beside the image, before its control, for a file of kept
            maps.
        compiled: whether it was asked to be compiled.
        maps: ``TeacherMaps`` that keep what it gives, or None: then it runs at every call.
        why_live: why it has no ``maps``.

    Raises:
        ConfigError: the model cannot be built, a tap is unknown, or there is no checkpoint.
        CheckpointError: the checkpoint is missing, cannot be downloaded, is unsafe, or of another
            architecture.
    """

    def __init__(
        self,
        model: ModelSpec,
        checkpoint: str | None,
        taps: Sequence[str],
        *,
        heads: Sequence[str] = (),
        compile: bool = False,
        nuisance: Mapping[str, Any] | None = None,
        control: str | None = None,
    ) -> None:
        if not checkpoint:
            raise ConfigError(
                "a teacher needs its checkpoint",
                value=checkpoint,
                fix="set model.teacher.checkpoint to a file, or to 'random' for a negative control",
            )
        if is_address(checkpoint):
            checkpoint = str(fetch(checkpoint, option="model.teacher.checkpoint"))
        config = resolve_model(model)
        with isolated_random_state():
            self.model = build_model(config, role="teacher")
        self.taps = Taps(self.model, taps, role="teacher", heads=heads)
        self._to_compile = compile  # later: a probe comes before the model is on its device
        self.sha256: str | None = None
        if checkpoint != RANDOM:
            load_strictly(self.model, checkpoint)
            self.sha256 = file_sha256(checkpoint)
        self.model.requires_grad_(False)
        self.model.eval()
        self._nuisance = None if nuisance is None else Nuisance(nuisance)
        self.control = control
        self.compiled = compile
        self.maps: TeacherMaps | None = None
        self.why_live = "nobody asked for kept maps"
        self.identity = (self.sha256, config, *taps, *heads, nuisance)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, data_samples: Any = None) -> Maps:
        """Feature maps by tap of preprocessed ``inputs`` (N, 3, H, W), under the same autocast;
        by head its class scores of all levels, then its boxes."""
        if self.maps is not None:
            maps = self.maps(self._forward, inputs, data_samples)
        else:
            maps = self._forward(inputs, data_samples)
        if self.control is None:
            return maps
        return {tap: [CONTROLS[self.control](m) for m in levels] for tap, levels in maps.items()}

    def _forward(self, inputs: Tensor, data_samples: Any) -> Maps:
        if self._to_compile:
            compile_parts(self.model, (*self.taps.paths, *self.taps.heads))
            self._to_compile = False
        with compile_failures():
            return self._maps(self.taps, inputs, data_samples)

    @torch.no_grad()
    def at(self, taps: Taps, inputs: Tensor, data_samples: Any = None) -> Maps:
        """As a call, of other taps: neither kept maps nor a negative control, and not compiled."""
        with self._eager():
            return self._maps(taps, inputs, data_samples)

    def levels_at(self, taps: Taps) -> dict[str, list[Level]]:
        """What other taps give (see ``probe``)."""
        with self._eager():
            return probe(self.model, taps)

    def _eager(self) -> AbstractContextManager[Any]:
        """Within: nothing runs compiled. It loads dynamo, which takes a second, so only where there
        is something to switch off."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def _maps(self, taps: Taps, inputs: Tensor, data_samples: Any) -> Maps:
        with taps.capture(self.model, stop=True) as features:
            self.model(inputs, data_samples, mode="tensor")
        if self._nuisance is not None:
            for tap in taps.paths:
                features[tap] = [self._nuisance(inputs, m) for m in features[tap]]
        return features

    def move(self, function: Callable[[Tensor], Tensor]) -> None:
        """Apply ``nn.Module._apply``'s function: the Distiller takes the teacher to its device."""
        self.model._apply(function)


def ready_teacher(
    teacher: FrozenTeacher | Mapping[str, Any], taps: Sequence[str], heads: Sequence[str]
) -> FrozenTeacher:
    """The teacher of a config, or one that is ready and gives these taps and heads.

    Raises:
        ConfigError: it does not give all of them; as ``FrozenTeacher``.
    """
    if not isinstance(teacher, FrozenTeacher):
        return FrozenTeacher(
            teacher["model"],
            teacher.get("checkpoint"),
            taps,
            heads=heads,
            compile=teacher.get("compile", False),
            nuisance=teacher.get("nuisance"),
            control=teacher.get("control"),
        )
    given = {"taps": teacher.taps.paths, "heads": teacher.taps.heads}
    for kind, wanted in (("taps", taps), ("heads", heads)):
        missing = [path for path in wanted if path not in given[kind]]
        if missing:
            raise ConfigError(
                f"a ready teacher gives the {kind} that it was made with",
                value=missing,
                fix=f"make it with them; it has {list(given[kind])}",
            )
    return teacher


def load_strictly(model: nn.Module, checkpoint: str | Checkpoint) -> None:
    """Load weights that fit ``model`` exactly; a Distiller's checkpoint gives its student.

    Raises:
        CheckpointError: the file is unsafe, or keys are missing, unexpected or of another shape.
    """
    read = read_checkpoint(checkpoint)
    state = student_state_dict(read.state)
    own = model.state_dict()
    shapes = [
        f"{k} {tuple(v.shape)} for {tuple(own[k].shape)}"
        for k, v in state.items()
        if k in own and own[k].shape != v.shape
    ]
    missing: list[str] = []
    unexpected: list[str] = []
    if not shapes:
        report = model.load_state_dict(state, strict=False)  # renames the keys of old formats
        missing = [k for k in report.missing_keys if not k.endswith("num_batches_tracked")]
        unexpected = [k for k in report.unexpected_keys if not k.startswith("data_preprocessor.")]
    wrong = {"of another shape": shapes, "missing": missing, "unexpected": unexpected}
    if any(wrong.values()):
        parts = [f"{len(k)} {what} ({_few(k)})" for what, k in wrong.items() if k]
        raise CheckpointError(
            f"the checkpoint is of another architecture: {', '.join(parts)}",
            value=read.path,
            fix="give the checkpoint of this config, or the config it was trained with",
        )


def check_same_input(student: nn.Module, teacher: nn.Module) -> None:
    """Refuse a teacher trained on other pixel statistics than the student's preprocessor gives.

    Args:
        student: a model with a data preprocessor.
        teacher: another; one whose preprocessor knows no normalisation is not compared.

    Raises:
        ConfigError: mean, std or the channel order differ.
    """
    ours, theirs = (pixel_statistics(model.data_preprocessor) for model in (student, teacher))
    if theirs["mean"] is None and not hasattr(teacher.data_preprocessor, "_enable_normalize"):
        return
    for key, value in theirs.items():
        if ours[key] != value:
            raise ConfigError(
                "student and teacher must prepare images alike: the teacher's "
                f"data_preprocessor.{key} is {value}",
                value=ours[key],
                fix="override the student's data_preprocessor",
            )


def pixel_statistics(preprocessor: Any) -> dict[str, Any]:
    """Mean, std and channel swap of MMDetection's or MMSegmentation's preprocessor."""
    mean, std = (getattr(preprocessor, key, None) for key in ("mean", "std"))
    swap = [
        getattr(preprocessor, key, False) for key in ("_channel_conversion", "channel_conversion")
    ]
    return {
        "mean": None if mean is None else [round(v, 4) for v in mean.flatten().tolist()],
        "std": None if std is None else [round(v, 4) for v in std.flatten().tolist()],
        "bgr_to_rgb": any(swap),
    }


def _few(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
