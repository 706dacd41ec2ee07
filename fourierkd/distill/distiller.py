"""The Distiller: in flows a batch; out flow the student's own losses and one loss a distillation.

The student alone (no teacher, no losses) is the same class and the same code path. At build time a
probe of both models finds every tap's channels, and whatever cannot work is an error before the
first iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from mmengine.logging import MessageHub, print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from fourierkd.distill.config_files import to_plain
from fourierkd.distill.connectors import composes, in_words
from fourierkd.distill.head_samples import KINDS, Call, head_samples
from fourierkd.distill.heads import head_calls, pair_heads
from fourierkd.distill.inherit import (
    Inherited,
    check_inherit,
    copy_modules,
    inherited_lines,
    match_modules,
)
from fourierkd.distill.model_config import ModelSpec, build_model, resolve_model
from fourierkd.distill.objects import check_detector, objects_of
from fourierkd.distill.pretrained import safe_pretraining, set_pretrained
from fourierkd.distill.registry import MODELS
from fourierkd.distill.taps import Taps, isolated_random_state, probe
from fourierkd.distill.teacher import FrozenTeacher, check_same_input, ready_teacher
from fourierkd.distill.terms import (
    Term,
    build_head_loss,
    build_loss,
    check_losses,
    check_teacher,
    pair_levels,
    read_terms,
)
from fourierkd.distill.timers import Timers
from fourierkd.errors import ConfigError, near
from fourierkd.losses.base import MAPS, MapLoss, Objects
from fourierkd.losses.samples import HeadLoss

MODEL_KEYS = ("student", "teacher", "losses", "inherit", "pretrained")
FeaturePair = tuple[Tensor, Tensor]


@MODELS.register_module()
class Distiller(BaseModel):
    """Train a student on its own losses plus named distillation losses against a frozen teacher.

    Every level of a tap has a loss module and a connector of its own, and a named loss is the sum
    over its levels (over all taps, where lists are given): ``losses[name][level]`` and
    ``connectors[name][level]``. A loss that compares detection heads is one module for all levels,
    ``losses[name][0]``, without connectors.

    Args:
        student: a model config in one of three forms (see ``model_config.resolve_model``).
        teacher: ``dict(model=..., checkpoint=...)``; None for the student alone. ``compile=True``
            compiles it by ``torch.compile``; ``nuisance=dict(mask=..., scale=...)`` adds a pattern
            of known frequencies to its maps (``Nuisance``); ``control="other_image"`` or
            ``"random_phases"`` makes a negative control of it. Or a ``FrozenTeacher`` that is
            ready, whose taps are among others those of ``losses``: several students can share one.
        losses: name -> ``dict(student_tap, teacher_tap, loss, connector="auto", warmup_iters=0)``.
            Taps are module paths, or equal-length lists of them. ``loss`` names a class and its
            arguments; ``in_channels`` is filled in from the teacher's tap, and a list as
            ``loss_weight`` holds one weight a level. ``warmup_iters``: the weight grows linearly
            from 0 over so many iterations (MMEngine's ``iter``). A loss that compares class scores
            has no ``connector``. For one that compares heads their paths, ``student_head`` and
            ``teacher_head``, stand in place of taps.
        inherit: module paths, such as ``("neck", "bbox_head")``, of which the student starts from
            the teacher's weights where names and shapes match.
        pretrained: False takes the student's pretrained weights out of its config; a file takes
            their place.

    Attributes:
        teacher: a ``FrozenTeacher`` or None; not a submodule, but it moves with ``to``.
        compared: name -> per level what is compared, in words: ``student backbone.layer4 after
            1x1 convolution, teacher backbone.layer4``; only of losses that compare maps.
        layers: name -> per level what the student's and the teacher's are called, such as
            ``("neck, stride 8", "neck, stride 8")``; only of losses that compare maps.
        left_out: name -> levels that only one side has at their stride, such as
            ``"teacher neck stride 4"``; a loss without any is not in it.
        inherited: module path -> what ``inherit`` copied and what it skipped; empty until
            ``init_weights``.
        keep_features: while true, ``last_features`` holds the last step's maps.
        last_features: name -> per level (student, teacher), detached, the student's after its
            connector; only of losses that compare maps.
        keep_gradients: while true, ``gradient_shares`` can be asked after the backward pass.
        timers: seconds of the last step's ``teacher``, ``student`` and ``losses`` forward passes.

    Raises:
        ConfigError: an unknown key, class or tap, no level in common, unequal channels, or a loss
            without a gradient.
        CheckpointError: the teacher's checkpoint is missing, unsafe, or of another architecture.
    """

    def __init__(
        self,
        student: ModelSpec | None = None,
        teacher: Mapping[str, Any] | FrozenTeacher | None = None,
        losses: Mapping[str, Mapping[str, Any]] | None = None,
        inherit: Sequence[str] = (),
        pretrained: bool | str = True,
        **unknown: Any,
    ) -> None:
        for key in unknown:
            raise ConfigError("unknown key of model", value=key, fix=near(key, MODEL_KEYS))
        losses = to_plain({} if losses is None else losses)
        if not isinstance(teacher, FrozenTeacher):
            teacher = to_plain(teacher)
            check_teacher(teacher)
        check_losses(losses, teacher=teacher is not None)
        if not student:
            raise ConfigError("model needs a student", fix="add model.student")
        check_inherit(inherit, teacher=teacher is not None)
        built = build_model(set_pretrained(resolve_model(student), pretrained), role="student")
        super().__init__(data_preprocessor=built.data_preprocessor)
        self.student: BaseModel = built
        self.teacher: FrozenTeacher | None = None
        self.losses = nn.ModuleDict()
        self.connectors = nn.ModuleDict()
        self.keep_features = self.keep_gradients = False
        self.last_features: dict[str, list[FeaturePair]] = {}
        self._gradients: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._timers = Timers()
        self._terms = read_terms(losses)
        self._indices: dict[str, list[tuple[int, int]]] = {}
        self._takes_objects = False
        heads = [term.heads for term in self._terms.values() if term.heads is not None]
        self._heads = tuple(dict.fromkeys(student_head for student_head, _ in heads))
        self.compared: dict[str, list[str]] = {}
        self.layers: dict[str, list[tuple[str, str]]] = {}
        self.left_out: dict[str, list[str]] = {}
        self._matches: dict[str, Inherited] = {}
        self.inherited: dict[str, dict[str, Any]] = {}
        taps = [tap for term in self._terms.values() for tap in term.student_taps]
        self._taps = Taps(self.student, taps, role="student")
        if teacher is None:
            return
        taps = [tap for term in self._terms.values() for tap in term.teacher_taps]
        with (
            isolated_random_state()
        ):  # the student's run draws the same numbers with and without losses
            self.teacher = ready_teacher(teacher, taps, [theirs for _, theirs in heads])
            check_same_input(built, self.teacher.model)
            self._matches = match_modules(built, self.teacher.model, inherit)
            for name, term in self._terms.items():
                if term.heads is not None:
                    loss = build_head_loss(losses[name])
                    where = f"model.losses.{name}"
                    matched = pair_heads(where, loss.samples, built, self.teacher.model, term.heads)
                    self._keep_pairing(name, matched.indices, matched.left_out)
                    self.losses[name] = nn.ModuleList([loss])
            ours = probe(self.student, self._taps)
            theirs = probe(self.teacher.model, self.teacher.taps)
            for name, term in self._terms.items():
                if term.heads is not None:
                    continue
                pairing = pair_levels(name, term, ours, theirs)
                self._keep_pairing(name, pairing.indices, pairing.left_out)
                self.connectors[name], self.losses[name] = build_loss(
                    name, losses[name], pairing.pairs
                )
                if any(loss.takes_objects for loss in cast(Iterable[MapLoss], self.losses[name])):
                    check_detector(f"model.losses.{name}", built)
                    self._takes_objects = True
                levels = zip(
                    pairing.layers, cast(nn.ModuleList, self.connectors[name]), strict=True
                )
                self.layers[name] = pairing.layers
                self.compared[name] = [in_words(names, connector) for names, connector in levels]

    def _keep_pairing(self, name: str, indices: list[tuple[int, int]], left_out: list[str]) -> None:
        self._indices[name] = indices
        if left_out:
            self.left_out[name] = left_out
            levels = ", ".join(left_out)
            print_log(f"loss {name}: no partner at its stride for {levels}", "current")

    def __getattr__(self, name: str) -> Any:
        """The student's own parts too: hooks of its package ask a model for its ``bbox_head``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            student = self.__dict__.get("_modules", {}).get("student")
            if student is None or name not in student._modules:
                raise
            return student._modules[name]

    @property
    def student_taps(self) -> Taps:
        """Of all losses that compare maps or class scores."""
        return self._taps

    def compared_maps(
        self, kinds: Collection[str] = (MAPS,)
    ) -> dict[str, tuple[Term, list[tuple[int, int]]]]:
        """Of each loss that compares feature maps: its taps, and which of the student's and the
        teacher's maps, counted tap after tap, make its levels.

        Args:
            kinds: what it compares, ``MAPS`` or ``LOGITS``.
        """
        return {
            name: (term, self._indices[name])
            for name, term in self._terms.items()
            if term.heads is None
            and all(
                cast(MapLoss, loss).compares in kinds
                for loss in cast(nn.ModuleList, self.losses[name])
            )
        }

    @property
    def timers(self) -> dict[str, float]:
        """Seconds of the last step by part; on CUDA, reading it waits for the device."""
        return self._timers.seconds()

    def init_weights(self) -> None:
        """Initialise the student by its own ``init_cfg``, then let it inherit; the teacher has its
        checkpoint."""
        with safe_pretraining():
            self.student.init_weights()
        if self.teacher is not None:
            self.inherited = copy_modules(self.student, self.teacher.model, self._matches)
            for line in inherited_lines(self.inherited):
                print_log(line, "current")

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
        with (
            time_part("student"),
            self._taps.capture(self.student) as features,
            head_calls(self.student, self._heads) as calls,
        ):
            losses = dict(self.student(inputs, data_samples, mode="loss"))
        with time_part("losses"):
            self.last_features, self._gradients = {}, {}
            objects = self.objects(inputs, data_samples)
            for name, term in self._terms.items():
                if term.heads is None:
                    total = self._compare_maps(name, term, features, targets, objects)
                else:
                    total = self._compare_heads(name, *term.heads, calls, targets)
                losses[f"distill.{name}.loss"] = total * self._ramp(name, term)
        return losses

    def objects(self, inputs: Tensor, data_samples: Any) -> Objects | None:
        """The boxes of a batch's objects where a loss asks for them."""
        return objects_of(inputs, data_samples) if self._takes_objects else None

    def _compare_maps(
        self,
        name: str,
        term: Term,
        features: dict[str, list[Tensor]],
        targets: dict[str, list[Tensor]],
        objects: Objects | None,
    ) -> Tensor:
        students = [m for tap in term.student_taps for m in features[tap]]
        teachers = [m for tap in term.teacher_taps for m in targets[tap]]
        indices = self._indices[name]
        students = [students[i] for i, _ in indices]
        teachers = [teachers[j] for _, j in indices]
        if self.keep_gradients:
            students = [self._watch(name, m) for m in students]
        connectors = cast(nn.ModuleList, self.connectors[name])
        modules = cast(Iterable[MapLoss], self.losses[name])
        connected = [c(m) for c, m in zip(connectors, students, strict=True)]
        levels = zip(modules, connected, teachers, connectors, students, strict=True)
        values = []
        for loss, s, t, c, m in levels:
            beside = loss.beside_maps(objects)
            if composes(loss, c):
                beside["before"] = (m, c)
            values.append(loss(s, t, **beside))
        total = torch.stack(values).sum()
        if self.keep_features:
            self.last_features[name] = [
                (s.detach(), t) for s, t in zip(connected, teachers, strict=True)
            ]
        return total

    def _compare_heads(
        self,
        name: str,
        student_head: str,
        teacher_head: str,
        calls: dict[str, list[Call]],
        targets: dict[str, list[Tensor]],
    ) -> Tensor:
        teacher = cast(FrozenTeacher, self.teacher).model
        (module,) = cast(Iterable[HeadLoss[Any]], self.losses[name])
        seen, indices = list(calls[student_head]), self._indices[name]
        if self.keep_gradients:
            compared, output = {i for i, _ in indices}, KINDS[module.samples].output
            seen = [
                {**c, output: self._watch(name, c[output])} if i in compared else c
                for i, c in enumerate(seen)
            ]
        levels, avg_factor = head_samples(
            module.samples,
            self.student.get_submodule(student_head),
            teacher.get_submodule(teacher_head),
            seen,
            targets[teacher_head],
            indices,
        )
        return cast(Tensor, module(levels, avg_factor))

    def _ramp(self, name: str, term: Term) -> float:
        """Weight factor in [0, 1], from MMEngine's iteration, which a resume restores."""
        if not term.warmup_iters:
            return 1.0
        iteration = MessageHub.get_current_instance().get_info("iter")
        if iteration is None:
            raise ConfigError(
                f"losses.{name}.warmup_iters needs the iteration in MMEngine's MessageHub",
                fix="train by MMEngine's Runner, or update_info('iter', i) in your own loop",
            )
        result: float = min(1.0, iteration / term.warmup_iters)
        return result

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
