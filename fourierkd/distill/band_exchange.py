"""Bands of a student's maps exchanged for the teacher's: in flow training images, out flow a fit
for each level, and a student that answers with other maps at its taps.

A teacher's map has other channels than the student's, and often another size. What takes the place
of the student's band is what a linear fit, made on training images, predicts of it from the
teacher's band (``spectral.band_fit``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.taps import Taps
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.distill.teacher_maps import Maps
from fourierkd.errors import ConfigError
from fourierkd.losses.base import match_maps
from fourierkd.spectral.band_fit import BandFit, BandMoments, exchange_bands, fit_bands

Batch = tuple[Any, Any]  # images as the models take them, and their data samples


class Compared(NamedTuple):
    """Taps of both sides whose maps a loss compares.

    Attributes:
        student, teacher: module paths.
        levels: for each level which of the student's and the teacher's maps, counted tap after tap.
    """

    student: tuple[str, ...]
    teacher: tuple[str, ...]
    levels: tuple[tuple[int, int], ...]

    @property
    def label(self) -> str:
        """The student's taps; with the teacher's, where they are others."""
        ours, theirs = ", ".join(self.student), ", ".join(self.teacher)
        return ours if ours == theirs else f"{ours} from {theirs}"

    def pairs(self, ours: Maps, theirs: Maps) -> list[tuple[Tensor, Tensor]]:
        """Both sides' maps of each level, of one size (the student's) and in full precision."""
        own = [m for tap in self.student for m in ours[tap]]
        known = [m for tap in self.teacher for m in theirs[tap]]
        return [
            match_maps(own[i], known[j], resize_stu=False, any_width=True) for i, j in self.levels
        ]


class Fitted(NamedTuple):
    """How the student's maps are predicted from the teacher's, at the taps of a loss.

    Attributes:
        compared: which maps.
        places: of each level: the student's tap, and which of its maps.
        maps: how many maps each of the student's taps gives of an image.
        fits: of each level.
        another: the teacher's maps of one training image.
    """

    compared: Compared
    places: list[tuple[str, int]]
    maps: dict[str, int]
    fits: list[BandFit]
    another: list[Tensor]

    def energy(self, bands: Collection[int], level: int | None = None) -> float:
        """Share of the student's energy in these bands, of a level or all levels together, without
        the mean of all images; NaN where it has none."""
        chosen, fits = list(bands), self._of(level)
        return _share(
            sum(float(fit.energy[chosen].sum()) for fit in fits),
            sum(float(fit.energy.sum()) for fit in fits),
        )

    def explained(self, bands: Collection[int], level: int | None = None) -> float:
        """Share of the student's energy in these bands that the teacher's maps tell of images that
        the fit has not seen, of a level or all together; NaN where the student has none."""
        chosen, fits = list(bands), self._of(level)
        energy = sum(float(fit.energy[chosen].sum()) for fit in fits)
        missed = sum(float(fit.missed[chosen].sum()) for fit in fits)
        return 1 - _share(missed, energy)

    def _of(self, level: int | None) -> list[BandFit]:
        return self.fits if level is None else [self.fits[level]]


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def compared_taps(model: Distiller) -> list[Compared]:
    """What a Distiller's losses of feature maps compare; one for losses at the same taps."""
    found = [
        Compared(term.student_taps, term.teacher_taps, tuple(levels))
        for term, levels in model.compared_maps().values()
    ]
    return list(dict.fromkeys(found))


@torch.no_grad()
def fit_taps(
    model: Distiller, compared: Compared, batches: Iterable[Batch], edges: Sequence[float]
) -> Fitted:
    """Fit the student's maps on the teacher's in each band.

    Args:
        model: with its teacher; in evaluation mode.
        compared: at which taps.
        batches: training images; every other image is of one half of the fit.
        edges: of the bands, fractions of the Nyquist frequency of each level, from 0 on.

    Raises:
        ConfigError: fewer than two images.
    """
    halves: list[list[BandMoments]] = []  # by level
    counts: dict[str, int] = {}
    another: list[Tensor] = []
    seen = 0
    for inputs, samples in batches:
        with model.student_taps.capture(model.student, stop=True) as ours:
            model.student(inputs, samples, mode="tensor")
        counts = {tap: len(ours[tap]) for tap in compared.student}
        theirs = teacher_of(model)(inputs, samples)
        another = [m[-1:] for tap in compared.teacher for m in theirs[tap]]
        pairs = compared.pairs(ours, theirs)
        if not halves:
            halves = [
                [BandMoments(edges, (s.shape[1], t.shape[1]), s.device) for _ in range(2)]
                for s, t in pairs
            ]
        for level, (own, known) in zip(halves, pairs, strict=True):
            for half in range(2):
                level[(seen + half) % 2].add(own[half::2], known[half::2])
        seen += len(pairs[0][0])
    if seen < 2:
        raise ConfigError("the maps are fitted on two or more training images", value=seen)
    every = [(tap, i) for tap in compared.student for i in range(counts[tap])]
    places = [every[i] for i, _ in compared.levels]
    return Fitted(compared, places, counts, [fit_bands(*level) for level in halves], another)


@contextmanager
def exchanged(
    model: Distiller,
    fitted: Fitted,
    bands: Collection[int],
    *,
    by_teacher: bool,
    other_image: bool = False,
    level: int | None = None,
) -> Iterator[None]:
    """Within: the student answers with these bands of its maps exchanged.

    Args:
        model: with its teacher.
        fitted: of these taps.
        bands: which, from 0 on.
        by_teacher: for what the teacher's maps predict; else the bands are emptied.
        other_image: for what they predict of another image: the one that the student took before,
            at first a training image.
        level: of which level alone; None: of all.
    """
    compared, levels = fitted.compared, {place: i for i, place in enumerate(fitted.places)}
    taps = Taps(model.student, compared.student, role="student")
    theirs: list[Tensor] = []  # the teacher's maps that the bands are predicted from
    before_these = list(fitted.another)  # of the image before those at hand
    position: dict[str, int] = {}  # of the next map of each tap

    def before(_: Any, arguments: tuple[Any, ...]) -> None:
        position.update(dict.fromkeys(taps.paths, 0))
        if by_teacher:
            maps = teacher_of(model)(*arguments[:2])
            theirs[:] = [m for tap in compared.teacher for m in maps[tap]]
        if other_image:
            last = [m[-1:] for m in theirs]
            theirs[:] = [_of_those_before(m, b) for m, b in zip(theirs, before_these, strict=True)]
            before_these[:] = last

    def change(tap: str, feature: Tensor) -> Tensor:
        place = tap, position[tap]
        position[tap] += 1
        if position[tap] > fitted.maps[tap]:
            raise ConfigError(
                "bands are exchanged where the student takes an image as a whole, and this tap "
                "gives more maps of it than in training",
                value=tap,
                fix="evaluate with model.student.test_cfg.mode='whole'",
            )
        if place not in levels or level not in (None, levels[place]):
            return feature
        fit = fitted.fits[levels[place]]
        known = theirs[compared.levels[levels[place]][1]] if by_teacher else None
        own = feature.float()
        if known is not None:
            own, known = match_maps(own, known, resize_stu=False, any_width=True)
        return exchange_bands(own, fit, bands, known).to(feature.dtype)

    handle = model.student.register_forward_pre_hook(before)
    try:
        with taps.changed(model.student, change):
            yield
    finally:
        handle.remove()


def _of_those_before(maps: Tensor, before: Tensor) -> Tensor:
    """Each image's maps in the place of those of the next one, ``before`` in that of the first.

    Args:
        maps: (N, C, H, W).
        before: (1, C, H', W'), brought to that size.
    """
    first = match_maps(maps[:1], before, resize_stu=False, any_width=True)[1]
    return torch.cat([first.to(maps.dtype), maps[:-1]])


def teacher_of(model: Distiller) -> FrozenTeacher:
    """The teacher.

    Raises:
        ConfigError: there is none.
    """
    if model.teacher is None:
        raise ConfigError("bands are exchanged for a teacher's, and this student is alone")
    return model.teacher
