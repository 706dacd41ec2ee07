"""The Distiller: in flows a batch; out flow the student's own losses and one loss a distillation.

The student alone (no teacher, no losses) is the same class and the same code path. At build time a
probe of both models finds every tap's channels, and whatever cannot work is an error before the
first iteration.
"""

from __future__ import annotations

import importlib.util
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from torch import Tensor, nn

from fourierkd.distill.connectors import build_connector
from fourierkd.distill.model_config import ModelSpec, build_model, to_plain
from fourierkd.distill.registry import MODELS
from fourierkd.distill.taps import Level, Taps, isolated_random_state, probe
from fourierkd.distill.teacher import FrozenTeacher, check_same_input
from fourierkd.errors import ConfigError, near

TEACHER_KEYS = ("model", "checkpoint")
LOSS_KEYS = ("student_tap", "teacher_tap", "loss", "connector", "warmup_iters")
FeaturePair = tuple[Tensor, Tensor]


class _Term(NamedTuple):
    """One named loss: which taps it compares and how its weight grows."""

    student_taps: tuple[str, ...]
    teacher_taps: tuple[str, ...]
    warmup_iters: int


@MODELS.register_module()
class Distiller(BaseModel):
    """Train a student on its own losses plus named distillation losses against a frozen teacher.

    Every level of a tap has a loss module and a connector of its own, and a named loss is the sum
    over its levels (over all taps, where lists are given): ``losses[name][level]`` and
    ``connectors[name][level]``.

    Args:
        student: a model config in one of three forms (see ``model_config.resolve_model``).
        teacher: ``dict(model=..., checkpoint=...)``; None for the student alone.
        losses: name -> ``dict(student_tap, teacher_tap, loss, connector="auto", warmup_iters=0)``.
            Taps are module paths, or equal-length lists of them. ``loss`` names a class and its
            arguments; ``in_channels`` is filled in from the teacher's tap, and a list as
            ``loss_weight`` holds one weight a level. ``warmup_iters``: the weight grows linearly
            from 0 over so many iterations (MMEngine's ``iter``).

    Attributes:
        teacher: a ``FrozenTeacher`` or None; not a submodule, but it moves with ``to``.
        keep_features: while true, ``last_features`` holds the last step's maps.
        last_features: name -> per level (student, teacher), detached, the student's after its
            connector.
        keep_gradients: while true, ``gradient_shares`` can be asked after the backward pass.
        timers: seconds of the last step's ``teacher``, ``student`` and ``losses`` forward passes.

    Raises:
        ConfigError: an unknown key, class or tap, unequal levels or channels, or a loss without a
            gradient.
        CheckpointError: the teacher's checkpoint is missing, unsafe, or of another architecture.
    """

    def __init__(
        self,
        student: ModelSpec,
        teacher: Mapping[str, Any] | None = None,
        losses: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        losses = to_plain(losses or {})
        teacher = to_plain(teacher)
        _check_keys(teacher, losses)
        built = build_model(student, role="student")
        super().__init__(data_preprocessor=built.data_preprocessor)
        self.student: nn.Module = built
        self.teacher: FrozenTeacher | None = None
        self.losses = nn.ModuleDict()
        self.connectors = nn.ModuleDict()
        self.keep_features = self.keep_gradients = False
        self.last_features: dict[str, list[FeaturePair]] = {}
        self._gradients: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._timers = _Timers()
        self._terms = {
            name: _Term(
                _as_tuple(entry["student_tap"]),
                _as_tuple(entry["teacher_tap"]),
                entry.get("warmup_iters", 0),
            )
            for name, entry in losses.items()
        }
        taps = [tap for term in self._terms.values() for tap in term.student_taps]
        self._taps = Taps(self.student, taps, role="student")
        if teacher is None:
            return
        taps = [tap for term in self._terms.values() for tap in term.teacher_taps]
        with (
            isolated_random_state()
        ):  # the student's run draws the same numbers with and without losses
            self.teacher = FrozenTeacher(teacher["model"], teacher.get("checkpoint"), taps)
            check_same_input(built, self.teacher.model)
            ours = probe(self.student, self._taps)
            theirs = probe(self.teacher.model, self.teacher.taps)
            for name, term in self._terms.items():
                pairs = _pair_levels(name, term, ours, theirs)
                self.connectors[name], self.losses[name] = _build_loss(name, losses[name], pairs)

    @property
    def timers(self) -> dict[str, float]:
        """Seconds of the last step by part; on CUDA, reading it waits for the device."""
        return self._timers.seconds()

    def init_weights(self) -> None:
        """Initialise the student by its own ``init_cfg``; the teacher has its checkpoint."""
        self.student.init_weights()

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Losses for ``mode="loss"``; the student's own answer for ``"predict"`` and ``"tensor"``.

        Args:
            inputs: preprocessed images (N, 3, H, W).
            data_samples: as the student takes them.

        Returns:
            For "loss": the student's losses and ``distill.<name>.loss`` (scalar tensors) for every
            named loss.
        """
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode)
        time_part = self._timers.restart(inputs)
        targets: dict[str, list[Tensor]] = {}
        if self.teacher is not None:
            with time_part("teacher"):
                targets = self.teacher(inputs, data_samples)
        with time_part("student"), self._taps.capture(self.student) as features:
            losses = dict(self.student(inputs, data_samples, mode="loss"))
        with time_part("losses"):
            losses.update(self._distill(features, targets))
        return losses

    def _distill(
        self, features: dict[str, list[Tensor]], targets: dict[str, list[Tensor]]
    ) -> dict[str, Tensor]:
        self.last_features, self._gradients = {}, {}
        losses = {}
        for name, term in self._terms.items():
            students = [m for tap in term.student_taps for m in features[tap]]
            teachers = [m for tap in term.teacher_taps for m in targets[tap]]
            if self.keep_gradients:
                students = [self._watch(name, m) for m in students]
            connectors = cast(nn.ModuleList, self.connectors[name])
            modules = cast(nn.ModuleList, self.losses[name])
            connected = [c(m) for c, m in zip(connectors, students, strict=True)]
            levels = zip(modules, connected, teachers, strict=True)
            total = torch.stack([loss(s, t) for loss, s, t in levels]).sum()
            losses[f"distill.{name}.loss"] = total * self._ramp(name, term)
            if self.keep_features:
                self.last_features[name] = [
                    (s.detach(), t) for s, t in zip(connected, teachers, strict=True)
                ]
        return losses

    def _ramp(self, name: str, term: _Term) -> float:
        """Weight factor in [0, 1], from MMEngine's iteration, which a resume restores."""
        if not term.warmup_iters:
            return 1.0
        iteration = MessageHub.get_current_instance().get_info("iter")
        if iteration is None:
            raise ConfigError(
                f"losses.{name}.warmup_iters needs the iteration in MMEngine's MessageHub",
                fix="train by MMEngine's Runner, or update_info('iter', i) in your own loop",
            )
        return min(1.0, iteration / term.warmup_iters)

    def _watch(self, name: str, feature: Tensor) -> Tensor:
        """A view of ``feature`` for one loss, with hooks that keep the gradients entering both."""
        branch = feature.view_as(feature)
        pair: list[Tensor] = []

        def keep(gradient: Tensor) -> None:
            pair.append(gradient.detach())

        if branch.requires_grad:
            # autograd runs the branch's hook first: the gradient of the whole waits for it
            branch.register_hook(keep)
            feature.register_hook(keep)
            self._gradients.setdefault(name, []).append(pair)  # type: ignore[arg-type]
        return branch

    def gradient_shares(self) -> dict[str, float]:
        """Each loss's share of the gradient norm at its taps: |g| / (|g| + |rest|), in [0, 1].

        Call it after the backward pass of a step with ``keep_gradients``; it waits for the device.
        """
        shares = {}
        for name, every in self._gradients.items():
            pairs = [pair for pair in every if len(pair) == 2]
            own = sum(float(p[0].float().square().sum()) for p in pairs) ** 0.5
            rest = sum(float((p[1] - p[0]).float().square().sum()) for p in pairs) ** 0.5
            shares[name] = own / (own + rest) if own + rest > 0 else 0.0
        return shares

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        super()._apply(fn, recurse)
        if self.teacher is not None:
            self.teacher.move(fn)
        return self


def _as_tuple(taps: str | Sequence[str]) -> tuple[str, ...]:
    return (taps,) if isinstance(taps, str) else tuple(taps)


def _check_keys(teacher: Mapping[str, Any] | None, losses: Mapping[str, Mapping[str, Any]]) -> None:
    """Every rule that needs no model."""
    if (teacher is None) != (not losses):
        raise ConfigError(
            "teacher and losses come together",
            value={"teacher": bool(teacher), "losses": list(losses)},
            fix="for the student alone set teacher=None and losses={}",
        )
    for key in set(teacher or ()) - set(TEACHER_KEYS):
        raise ConfigError("unknown key of model.teacher", value=key, fix=near(key, TEACHER_KEYS))
    if teacher is not None and "model" not in teacher:
        raise ConfigError("model.teacher needs a model", fix="add model.teacher.model")
    for name, entry in losses.items():
        where = f"model.losses.{name}"
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise ConfigError("a loss has a plain name such as 'fourier'", value=name)
        if not isinstance(entry, Mapping):
            raise ConfigError(
                f"{where} is a dict with student_tap, teacher_tap and loss", value=entry
            )
        for key in set(entry) - set(LOSS_KEYS):
            raise ConfigError(f"unknown key of {where}", value=key, fix=near(key, LOSS_KEYS))
        for key in LOSS_KEYS[:3]:
            if key not in entry:
                raise ConfigError(f"{where} needs a {key}", fix=f"add {where}.{key}")
        for key in LOSS_KEYS[:2]:
            taps = _as_tuple(entry[key]) if isinstance(entry[key], (str, list, tuple)) else ()
            if not taps or not all(isinstance(tap, str) and tap for tap in taps):
                raise ConfigError(
                    f"{where}.{key} is a module path or a list of them", value=entry[key]
                )
        counts = [len(_as_tuple(entry[key])) for key in LOSS_KEYS[:2]]
        if counts[0] != counts[1]:
            raise ConfigError(f"{where} needs as many student taps as teacher taps", value=counts)
        warmup = entry.get("warmup_iters", 0)
        if not isinstance(warmup, int) or warmup < 0:
            raise ConfigError(f"{where}.warmup_iters is a whole number from 0 on", value=warmup)
        _check_loss(where, entry["loss"])


def _check_loss(where: str, config: Any) -> None:
    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise ConfigError(
            f"{where}.loss names its class, as in dict(type='FourierLoss')", value=config
        )
    kind = MODELS.get(config["type"])
    if kind is None:
        raise ConfigError(
            f"unknown class in {where}.loss",
            value=config["type"],
            fix=near(config["type"], _loss_names()),
        )
    known = [p for p in inspect.signature(kind).parameters if p != "self"]
    for key in set(config) - {"type", *known}:
        raise ConfigError(f"unknown key of {where}.loss", value=key, fix=near(key, known))
    weights = config.get("loss_weight", 1.0)
    for weight in weights if isinstance(weights, (list, tuple)) else [weights]:
        if not isinstance(weight, (int, float)) or not weight > 0:
            raise ConfigError(
                f"{where}.loss.loss_weight must be above 0, else the loss has no gradient",
                value=weight,
                fix="remove the loss instead",
            )


def _loss_names() -> list[str]:
    return [name for name in MODELS.module_dict if name != "Distiller"]


def _pair_levels(
    name: str, term: _Term, ours: dict[str, list[Level]], theirs: dict[str, list[Level]]
) -> list[tuple[Level, Level]]:
    """The levels a loss compares, in order: tap by tap."""
    pairs: list[tuple[Level, Level]] = []
    for student_tap, teacher_tap in zip(term.student_taps, term.teacher_taps, strict=True):
        student, teacher = ours[student_tap], theirs[teacher_tap]
        if len(student) != len(teacher):
            raise ConfigError(
                f"model.losses.{name}: the student's {student_tap!r} gives {len(student)} levels, "
                f"the teacher's {teacher_tap!r} {len(teacher)}",
                fix="tap modules with equally many levels",
            )
        if not any(level.requires_grad for level in student):
            raise ConfigError(
                f"model.losses.{name} gives no gradient: the student is frozen up to its tap",
                value=student_tap,
                fix="tap a later module, or lower frozen_stages",
            )
        pairs += zip(student, teacher, strict=True)
    return pairs


def _build_loss(
    name: str, entry: Mapping[str, Any], pairs: list[tuple[Level, Level]]
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Connectors and loss modules, one each a level."""
    config = dict(entry["loss"])
    weights = config.get("loss_weight")
    if isinstance(weights, (list, tuple)) and len(weights) != len(pairs):
        raise ConfigError(
            f"model.losses.{name}.loss.loss_weight needs one weight a level",
            value=weights,
            fix=f"give {len(pairs)} weights, or one for all",
        )
    kind = MODELS.get(config.pop("type"))
    takes_channels = "in_channels" in inspect.signature(kind).parameters
    connectors, losses = nn.ModuleList(), nn.ModuleList()
    for level, (student, teacher) in enumerate(pairs):
        where = f"model.losses.{name}, level {level}"
        connector = entry.get("connector", "auto")
        connectors.append(
            build_connector(connector, student.channels, teacher.channels, where=where)
        )
        arguments = dict(config)
        if isinstance(weights, (list, tuple)):
            arguments["loss_weight"] = weights[level]
        if (
            takes_channels
            and arguments.setdefault("in_channels", teacher.channels) != teacher.channels
        ):
            raise ConfigError(
                f"{where}: in_channels must be the teacher's {teacher.channels}",
                value=arguments["in_channels"],
                fix="leave in_channels out",
            )
        losses.append(kind(**arguments))
    return connectors, losses


def _register_losses() -> None:
    for module, name in (("fourier", "FourierLoss"), ("spatial", "FeatureL2")):
        MODELS.register_module(
            module=getattr(importlib.import_module(f"fourierkd.losses.{module}"), name)
        )


if importlib.util.find_spec("fourierkd.losses.fourier"):  # TODO losses land in parallel
    _register_losses()


class _Timers:
    """Wall time of a step's parts on the CPU; on CUDA device time, by events read when asked."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[Any, Any]] = {}
        self._cuda = False

    def restart(self, inputs: Any) -> Callable[[str], Any]:
        self._marks = {}
        self._cuda = isinstance(inputs, Tensor) and inputs.is_cuda
        return self._part

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        start = self._mark()
        yield
        self._marks[name] = (start, self._mark())

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> dict[str, float]:
        """Seconds by part; a part that did not run is not in it."""
        if not self._cuda:
            return {name: end - start for name, (start, end) in self._marks.items()}
        for _, end in self._marks.values():
            end.synchronize()
        return {n: start.elapsed_time(end) / 1000 for n, (start, end) in self._marks.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> _Timers:
        return _Timers()
