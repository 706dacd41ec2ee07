"""Spectra: in flow the tapped maps of a training step, out flow gaps per band, pictures and arrays.

The step is the last one before a validation, so nothing is computed twice. The student's map is the
one its loss compares: after the connector, and resized to the teacher's where the sizes differ.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from torch import Tensor, nn
from typing_extensions import override

from fourierkd.distill.registry import HOOKS
from fourierkd.engine.ranks import leads
from fourierkd.engine.runner import KDRunner
from fourierkd.losses.base import DistillationLoss
from fourierkd.options import whole_number
from fourierkd.records import scores
from fourierkd.run_dir import picture_label, write_atomic
from fourierkd.spectral.frequency import (
    BANDS,
    band_gap,
    check_edges,
    power_spectrum,
    radial_profile,
)
from fourierkd.spectral.half import full_plane
from fourierkd.spectral.masks import AllPass, mask_weights
from fourierkd.tracking.figures import spectra_picture, write_png

MOST_BINS = 16


@HOOKS.register_module()
class SpectraHook(Hook):
    """Gaps per band at every validation; a picture and its arrays at each ``every``-th and the end.

    Rows: ``spectra/<loss>/gap_<low>-<high>``, (E_T - E_S) / (E_T + E_S) of the energies in the
    band, the mean over levels. Files: ``spectra_<iter>_<loss>_<level>.png`` and ``.npz`` with
    ``radius`` and ``band_edges`` (fractions of Nyquist), ``student_profile``, ``teacher_profile``
    (mean power), ``gap``, ``student_log_amplitude``, ``teacher_log_amplitude`` (log10, DC in the
    middle), ``mask`` (weights, where the loss has one that is not all-pass) and ``caption`` (which
    layers, which connector, averaged over what).

    Args:
        every: draw at every so many validations; 0 for the end alone.
        edges: of the bands, increasing fractions of Nyquist.

    With several ranks: of rank 0's batch.

    Cost: two Fourier transforms of the tapped maps a validation, and about 10 ms a picture.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, every: int = 4, edges: tuple[float, ...] = BANDS) -> None:
        self.every = whole_number("SpectraHook.every", every, 0)
        self.edges = check_edges(edges)
        self.validations = 0

    def before_train(self, runner: KDRunner) -> None:
        """A resumed run draws where the whole one does."""
        rows = runner.run_dir.rows()
        self.validations = sum(bool(scores(row)) for row in rows)

    @override
    def before_train_iter(self, runner: KDRunner, batch_idx: int, data_batch: Any = None) -> None:
        """Have the maps kept where a validation follows, or the end."""
        model: Any = runner.bare_model
        if hasattr(model, "keep_features") and leads():
            model.keep_features = (
                runner.validation_follows(batch_idx) or runner.iter + 1 == runner.max_iters
            )

    @override
    def after_val_epoch(self, runner: KDRunner, metrics: dict[str, float] | None = None) -> None:
        """Write the gaps; draw where it is due."""
        self.validations += 1
        at_end = runner.iter == runner.max_iters
        draw = at_end or (self.every > 0 and self.validations % self.every == 0)
        self._report(runner, runner.iter, draw=draw)

    def after_train(self, runner: KDRunner) -> None:
        """Draw the end of a run that does not end with a validation."""
        self._report(runner, runner.iter, draw=True)

    def _report(self, runner: KDRunner, iteration: int, *, draw: bool) -> None:
        model: Any = runner.bare_model
        features = getattr(model, "last_features", {})
        row: dict[str, float] = {}
        pictures: list[tuple[str, np.ndarray]] = []
        for name, pairs in features.items():
            levels = []
            for level, (student, teacher) in enumerate(pairs):
                arrays = spectra(student, teacher, model.losses[name][level], self.edges)
                images, channels, height, width = teacher.shape
                caption = (
                    model.compared[name][level],
                    f"mean over {images} training images and {channels} channels of "
                    f"{height}x{width}",
                )
                arrays["caption"] = np.array("; ".join(caption))
                levels.append(arrays["gap"])
                if draw:
                    label = picture_label(name, level, len(pairs))
                    picture = spectra_picture(
                        arrays["student_log_amplitude"],
                        arrays["teacher_log_amplitude"],
                        arrays.get("mask"),
                        f"{label}, iteration {iteration}",
                        caption,
                    )
                    self._write(runner, iteration, f"{name}_{level}", arrays, picture)
                    pictures.append((f"spectra/{label}", picture))
            for index, gap in enumerate(np.mean(levels, axis=0)):
                low, high = self.edges[index : index + 2]
                row[f"spectra/{name}/gap_{low:g}-{high:g}"] = float(gap)
        if not row:
            return
        model.last_features = {}  # frees the maps, and says that they were seen
        written = runner.write_row(row, iteration=iteration)
        if runner.tracker is not None:
            with runner.clock.part("tracking"):
                for key, picture in pictures:
                    runner.tracker.image(key, picture, written)

    def _write(
        self,
        runner: KDRunner,
        iteration: int,
        name: str,
        arrays: dict[str, np.ndarray],
        picture: np.ndarray,
    ) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomic(runner.run_dir.picture(iteration, name, ".npz"), buffer.getvalue())
        write_png(runner.run_dir.picture(iteration, name), picture)


@torch.no_grad()
def spectra(
    student: Tensor, teacher: Tensor, loss: DistillationLoss, edges: list[float]
) -> dict[str, np.ndarray]:
    """The arrays of one level, as named in ``SpectraHook``, without the caption.

    Args:
        student: (N, C, H, W) after its connector.
        teacher: (N, C, H', W').
        loss: its ``mask`` is drawn.
        edges: of the bands, fractions of Nyquist.
    """
    student, teacher = student.float(), teacher.float()
    if student.shape[-2:] != teacher.shape[-2:]:
        student = nn.functional.interpolate(
            student, teacher.shape[-2:], mode="bilinear", align_corners=False
        )
    height, width = teacher.shape[-2:]
    bins = max(1, min(MOST_BINS, min(height, width) // 2))
    ours, theirs = radial_profile(student, bins=bins), radial_profile(teacher, bins=bins)
    arrays = {
        "radius": theirs.radius,
        "student_profile": ours.power,
        "teacher_profile": theirs.power,
        "band_edges": torch.tensor(edges),
        "gap": band_gap(student, teacher, edges),
        "student_log_amplitude": log_amplitude(student),
        "teacher_log_amplitude": log_amplitude(teacher),
    }
    if loss.mask is not None and not isinstance(loss.mask, AllPass):
        arrays["mask"] = centred(mask_weights(loss.mask, height, width), width)
    return {key: value.cpu().numpy() for key, value in arrays.items()}


def log_amplitude(feature: Tensor) -> Tensor:
    """log10 of the RMS amplitude over images and channels, (H, W), DC in the middle."""
    power = power_spectrum(feature)
    tiny = torch.finfo(power.dtype).tiny
    return centred(power.clamp_min(tiny).log10() / 2, feature.shape[-1])


def centred(half: Tensor, width: int) -> Tensor:
    """Half of a spectrum that is equal at k and -k -> the full (H, W), DC in the middle."""
    result: Tensor = torch.fft.fftshift(full_plane(half, width))
    return result
