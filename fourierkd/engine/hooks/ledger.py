"""The spectral ledger: in flow the models and a few val images, out flows a file a validation.

The images are the same in every run on the same data, so are bands, columns and units: the spectra
of two runs can be taken from each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from fourierkd.config.load import Pair
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.level_spectra import Batch, LevelSpectra, LevelSums, undisturbed
from fourierkd.distill.registry import HOOKS
from fourierkd.distill.teacher import FrozenTeacher, check_same_input
from fourierkd.engine.ranks import leads
from fourierkd.engine.runner import KDRunner
from fourierkd.errors import FourierKDError, first_line
from fourierkd.ledger_file import ledger_bytes
from fourierkd.run_dir import write_atomic

IMAGES = 8
SCALARS = (0.0, 0.25, 0.5, 1.0)  # wider bands, for a few curves
_NO_WORD = re.compile(r"\W+")


@HOOKS.register_module()
class LedgerHook(Hook):
    """Write the spectra of every level on fixed val images, at each validation.

    Files: ``spectra/<iter>.parquet`` (columns: ``ledger_file.COLUMNS``). Rows:
    ``ledger/<layer>/share_error_<low>-<high>`` and, where the maps have channels in common,
    ``ledger/<layer>/coherence_<low>-<high>``. The student's weights are those that are validated,
    averaged ones included. The student alone is compared with the teacher that its config names,
    where its checkpoint is a file that is there; ``run.log`` says what is compared, and why not.

    A run has it, whatever its config says: model, buffers and random states stay as they are. What
    goes wrong in it costs the ledger and a warning, not the run; a disk that is full ends it.

    With several ranks: rank 0 alone.

    Args:
        pair: of the run's config.

    Cost, ``seconds.ledger`` of ``result.json``: once building the teacher of a student alone, a
    probe of both models and the teacher's maps of the images (``LevelSpectra``), then the student's
    forward of so many images to its last tap and their transforms.
    """

    priority = "ABOVE_NORMAL"  # before EMAHook takes the averaged weights out

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._on = True
        self._spectra: LevelSpectra | None = None
        self._batches: list[Batch] = []
        self._facts: dict[str, Any] = {}

    @override
    def after_val_epoch(self, runner: KDRunner, metrics: dict[str, float] | None = None) -> None:
        """Write what the validated student's spectra are."""
        if not (leads() and self._on):
            return
        with runner.clock.part("ledger"):
            try:
                found = self._look(runner)
                if not found:
                    self._on = False
                    return
                about = {"iter": runner.iter, "epoch": runner.epoch, **self._facts}
                data = ledger_bytes([{**about, **row} for sums in found for row in _rows(sums)])
            except Exception as error:  # it only looks on: no run ends by it
                self._on = False
                words = first_line(error) or type(error).__name__
                runner.logger.warning(f"no spectral ledger from here on: {words}")
                return
            write_atomic(runner.run_dir.ledger_file(runner.iter), data)
        values = {key: v for sums in reversed(found) for key, v in _scalars(sums).items()}
        if values:
            runner.write_row(values, iteration=runner.iter)

    def _look(self, runner: KDRunner) -> list[LevelSums]:
        model = runner.bare_model
        if not isinstance(model, Distiller):
            return []
        if self._spectra is None:
            self._start(runner, model, next(model.parameters()).device)
        if self._spectra is None or not self._spectra.levels:
            return []
        return self._spectra(self._batches)

    def _start(self, runner: KDRunner, model: Distiller, device: torch.device) -> None:
        """Find levels and images, and say in the log what is compared."""
        log = runner.logger.info
        if not (model.layers or {role for role in self.pair.taps if role != "head"}):
            log("no spectral ledger: the config names no taps, and no loss compares maps")
            return
        teacher = model.teacher
        if teacher is None:
            teacher, reason = self._teacher_at_hand(model, device)
            if teacher is None:
                log(f"spectral ledger: the student's own spectra alone, since {reason}")
        with undisturbed(model, device):
            self._batches, digest = fixed_images(runner.val_dataloader, model)
        self._facts = {
            "images": sum(len(inputs) for inputs, _ in self._batches),
            "images_digest": digest,
            "teacher_sha256": None if teacher is None else teacher.sha256,
        }
        self._spectra = LevelSpectra(model, self.pair.taps, teacher)
        for line in self._spectra.left_out:
            log(f"spectral ledger: left out ({line})")
        for level in self._spectra.levels:
            log(f"spectral ledger: {level.words}")

    def _teacher_at_hand(
        self, model: Distiller, device: torch.device
    ) -> tuple[FrozenTeacher | None, str]:
        """The teacher that the config of a student alone names, or why there is none."""
        named = self.pair.teacher
        checkpoint = None if named is None else named.get("checkpoint")
        if named is None or not checkpoint:
            return None, "the config names no teacher with a checkpoint"
        if not Path(checkpoint).is_file():
            return None, f"the teacher's checkpoint is no file that is there ({checkpoint})"
        try:
            teacher = FrozenTeacher(named["model"], checkpoint, (), nuisance=named.get("nuisance"))
            check_same_input(model.student, teacher.model)
        except FourierKDError as error:
            return None, str(error)
        teacher.move(lambda tensor: tensor.to(device))
        return teacher, ""


def fixed_images(loader: DataLoader[Any], model: Distiller) -> tuple[list[Batch], str]:
    """IMAGES of a data set, at equal distances, preprocessed as a validation does it, on the CPU;
    and a digest of them as they were loaded.

    Images of one size are together in a batch, at most as many as a batch of the loader has, so
    that none is padded to the size of another.
    """
    dataset: Any = loader.dataset
    count = len(dataset)
    chosen = sorted({(2 * i + 1) * count // (2 * IMAGES) for i in range(IMAGES)})
    by_size: dict[Any, list[Any]] = {}
    digest = hashlib.blake2b(digest_size=8)
    for index in chosen:
        sample = dataset[index]
        image = torch.as_tensor(sample["inputs"]).contiguous()
        digest.update(f"{tuple(image.shape)} {image.dtype}".encode())
        digest.update(image.cpu().numpy().tobytes())
        by_size.setdefault(tuple(image.shape), []).append(sample)
    batches = []
    for samples in by_size.values():
        for part in _parts(samples, loader.batch_size or 1):
            ready = model.data_preprocessor(loader.collate_fn(part), False)
            inputs = ready["inputs"]
            if not isinstance(inputs, Tensor):
                inputs = torch.stack(list(inputs))
            batches.append((inputs.cpu(), ready.get("data_samples")))
    return batches, digest.hexdigest()


def _parts(items: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _rows(found: LevelSums) -> Iterator[Mapping[str, Any]]:
    level = found.level
    about = {
        "layer": level.layer,
        "teacher_layer": level.teacher_layer,
        "loss": level.loss,
        "compared": level.words,
        "height": found.size[0],
        "width": found.size[1],
        "channels": found.channels,
        "teacher_channels": found.teacher_channels,
    }
    for record in found.sums.bands():
        yield {**about, **record._asdict()}


def _scalars(found: LevelSums) -> dict[str, float]:
    layer = _NO_WORD.sub("_", found.level.layer)
    values = {}
    for record in found.sums.bands(SCALARS)[1:]:
        for name in ("share_error", "coherence"):
            value = getattr(record, name)
            if value is not None:
                values[f"ledger/{layer}/{name}_{record.low:g}-{record.high:g}"] = value
    return values
