"""Spectra of a pair's levels: in flow a Distiller and images, out flow sums of bands of each level.

The levels are those that the losses compare, each after its connector, and those of the taps that
the pair names by role and no loss compares: there the maps have no channels in common, but for
class scores, and only the power over radius is compared. The student's model, random states and
running statistics are left as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.taps import Level, Taps, probe, untouched
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.distill.teacher_maps import Maps
from fourierkd.distill.terms import Term, as_tuple, layer_name, pair_levels
from fourierkd.errors import ConfigError
from fourierkd.losses.base import LOGITS, MAPS, MapLoss, match_maps
from fourierkd.spectral.cross_spectrum import BandSums

Batch = tuple[Tensor, Any]  # preprocessed images, their data samples
Place = tuple[str, int]  # a tap, and which of its maps
Roles = Mapping[str, tuple[Any, Any]]  # role -> (student's, teacher's module paths)
LIMIT = 1 << 28  # bytes of the teacher's maps that are kept from one call to the next


class PairLevel(NamedTuple):
    """A student's map and the teacher's that it is compared with.

    Attributes:
        layer, teacher_layer: what they are called, such as ``neck, stride 8``; the second is None
            without a teacher.
        loss: the loss that compares them, or None.
        words: what is compared with what.
        student, teacher: which maps.
        connector: what brings the student's map into the teacher's channels; None where nothing
            does, and the two have no channels in common.
        resize_stu: which of two maps of different size is resized.
    """

    layer: str
    teacher_layer: str | None
    loss: str | None
    words: str
    student: Place
    teacher: Place | None
    connector: nn.Module | None
    resize_stu: bool = True


class LevelSums(NamedTuple):
    """The bands of a level; channels, and (H, W) of the first image's maps."""

    level: PairLevel
    sums: BandSums
    channels: int
    teacher_channels: int | None
    size: tuple[int, int]


class LevelSpectra:
    """Compare the levels of a pair on the same images again and again.

    The teacher's maps are kept from one call to the next, up to LIMIT bytes; with more it runs at
    every call.

    Args:
        model: the Distiller.
        roles: taps of the pair by role, for levels that no loss compares.
        teacher: what the student is compared with; None for its own spectra alone.

    Attributes:
        levels: what is compared.
        left_out: why taps of a role are not, in words.

    Raises:
        ConfigError: the model does not run on a black image.
    """

    def __init__(self, model: Distiller, roles: Roles, teacher: FrozenTeacher | None) -> None:
        self._model, self._teacher = model, teacher
        self._kept: list[Maps] | None = []
        self.left_out: list[str] = []
        own = {role: taps for role, taps in roles.items() if role != "head"}
        self.levels: list[PairLevel] = []
        with untouched(model):
            try:
                self._find(own)
            except ConfigError as error:
                if not own:
                    raise
                self.left_out.append(str(error))
                self._find({})

    def _find(self, roles: Roles) -> None:
        """Probe both models at all taps, and pair their levels."""
        model, teacher = self._model, self._teacher
        terms = model.compared_maps((MAPS, LOGITS))
        ours = [tap for term, _ in terms.values() for tap in term.student_taps]
        theirs = [tap for term, _ in terms.values() for tap in term.teacher_taps]
        for student_paths, teacher_paths in roles.values():
            ours += as_tuple(student_paths)
            theirs += as_tuple(teacher_paths)
        self._taps = Taps(model.student, ours, role="student")
        self._own = probe(model.student, self._taps) if ours else {}
        self._known: dict[str, list[Level]] = {}
        if teacher is not None and theirs:
            self._teacher_taps = Taps(teacher.model, theirs, role="teacher")
            self._known = teacher.levels_at(self._teacher_taps)
        self.levels = [
            level
            for name, (term, indices) in terms.items()
            for level in self._of_loss(name, term, indices)
        ]
        for role, paths in roles.items():
            try:
                found = list(self._of_role(role, *map(as_tuple, paths)))
            except ConfigError as error:
                self.left_out.append(str(error))
                continue
            seen = {(level.layer, level.teacher_layer) for level in self.levels}
            self.levels += [v for v in found if (v.layer, v.teacher_layer) not in seen]

    def _of_loss(
        self, name: str, term: Term, indices: Sequence[tuple[int, int]]
    ) -> Iterator[PairLevel]:
        model = self._model
        ours, theirs = (
            _places(term.student_taps, self._own),
            _places(term.teacher_taps, self._known),
        )
        modules = zip(
            cast(nn.ModuleList, model.losses[name]),
            cast(nn.ModuleList, model.connectors[name]),
            strict=True,
        )
        for level, (module, connector) in enumerate(modules):
            loss = cast(MapLoss, module)
            i, j = indices[level]
            yield PairLevel(
                *model.layers[name][level],
                loss=name,
                words=model.compared[name][level],
                student=ours[i],
                teacher=theirs[j],
                connector=None if loss.any_width else connector,
                resize_stu=loss.resize_stu,
            )

    def _of_role(
        self, role: str, student: tuple[str, ...], teacher: tuple[str, ...]
    ) -> Iterator[PairLevel]:
        ours = _places(student, self._own)
        if self._teacher is None:
            names = [layer_name(tap, self._own[tap], i) for tap, i in ours]
            for layer, place in zip(names, ours, strict=True):
                yield PairLevel(layer, None, None, f"student {layer}", place, None, None)
            return
        theirs = _places(teacher, self._known)
        pairing = pair_levels(role, Term(student, teacher, 0), self._own, self._known)
        levels = zip(pairing.layers, pairing.indices, pairing.pairs, strict=True)
        for (layer, other), (i, j), (own, known) in levels:
            classes = role == "logits" and own.channels == known.channels
            words = f"student {layer}, teacher {other}, {'same classes' if classes else 'no loss'}"
            connector = nn.Identity() if classes else None
            yield PairLevel(layer, other, None, words, ours[i], theirs[j], connector)

    @torch.no_grad()
    def __call__(self, batches: Sequence[Batch]) -> list[LevelSums]:
        """The bands of every level over all images.

        Args:
            batches: always the same ones; each goes to the model's device in its turn.
        """
        found: list[LevelSums] = []
        device = next(self._model.parameters()).device
        with undisturbed(self._model, device):
            for number, (inputs, samples) in enumerate(batches):
                inputs = inputs.to(device)
                with self._taps.capture(self._model.student, stop=True) as ours:
                    self._model.student(inputs, samples, mode="tensor")
                theirs = self._teacher_maps(number, inputs, samples)
                for i, level in enumerate(self.levels):
                    maps = _matched(level, ours, theirs)
                    if number == 0:
                        student, teacher, _ = maps
                        channels = None if teacher is None else teacher.shape[1]
                        size = student.shape[2], student.shape[3]
                        sums = BandSums()
                        found.append(LevelSums(level, sums, student.shape[1], channels, size))
                    found[i].sums.add(*maps)
        if self._kept is not None:
            self._teacher = None  # that of a student alone is needed no more
        return found

    def _teacher_maps(self, number: int, inputs: Tensor, samples: Any) -> Maps:
        if not self._known:
            return {}
        if self._kept is not None and number < len(self._kept):
            return self._kept[number]
        maps = cast(FrozenTeacher, self._teacher).at(self._teacher_taps, inputs, samples)
        if self._kept is not None:
            self._kept.append(maps)
            levels = [m for kept in self._kept for own in kept.values() for m in own]
            if sum(m.numel() * m.element_size() for m in levels) > LIMIT:
                self._kept = None
        return maps


def _places(taps: Sequence[str], levels: Mapping[str, Sequence[Level]]) -> list[Place]:
    """Of all maps of these taps, tap after tap."""
    return [(tap, i) for tap in taps for i in range(len(levels[tap]))]


def _matched(
    level: PairLevel, ours: Maps, theirs: Maps
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The student's map, the teacher's, and the student's in the teacher's channels, of one size
    and in full precision."""
    tap, i = level.student
    own = ours[tap][i]
    if level.teacher is None:
        return own, None, None
    tap, i = level.teacher
    known, resize = theirs[tap][i], level.resize_stu
    student, teacher = match_maps(own, known, resize_stu=resize, any_width=True)
    if level.connector is None:
        return student, teacher, None
    return student, teacher, match_maps(level.connector(own), known, resize_stu=resize)[0]


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within: the model in evaluation mode; afterwards modes and random states are what they
    were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), untouched(model):
        model.eval()
        yield
