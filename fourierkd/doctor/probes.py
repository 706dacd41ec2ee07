"""What the loss rewards: in flow loss modules and fixed maps, out flow the two spectral probes.

The shortcut probe trains the losses' own parameters while the maps stay fixed. The band probe cuts
a loss that is linear in its mask into frequency bands, and looks for the value that balances them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from fourierkd.doctor.report import OK, SKIP, WARN, Check, number
from fourierkd.errors import ConfigError
from fourierkd.losses.base import MapLoss, Objects, match_maps
from fourierkd.spectral.frequency import BANDS
from fourierkd.spectral.masks import AllPass, Mask, mask_weights

Pairs = Sequence[tuple[Tensor, Tensor]]

# Adam's learning rate: of vectors, and of matrices times their initial scale, 1 / sqrt(fan-in). At
# 64 to 1024 channels it removed most of the Fourier loss; one rate for all removed half as much.
VECTOR_RATE, MATRIX_RATE = 0.01, 0.08
DRAWS = 4  # of the loss's noise, before and after
REMOVED_LIMIT = 0.2  # share of the loss above which the shortcut is worth a warning
SECONDS = 20.0  # of the shortcut probe, all losses together

MIDDLE = 0.5  # of Nyquist: between the low and the high half
BALANCED = (0.1, 0.9)  # share of the low half that needs no word
SMALLEST = 8  # height and width from which on both halves hold more than the mean
DECADES = 3  # radii are looked for from 1e-3 to 1e3 times the present one
ELEMENTS = 1 << 21  # of a map; images beyond are left out


def check_shortcut(
    losses: Mapping[str, Sequence[MapLoss]],
    maps: Mapping[str, Pairs],
    *,
    steps: int,
    seed: int,
    objects: Objects | None = None,
) -> Check:
    """How much of each loss its own parameters remove while student, connector and teacher rest.

    Adam trains them for ``steps`` steps on the maps of one batch. What they remove, the student
    never has to learn. The loss's own scalars before and after show how: FourierLoss's ``mix``
    falls towards 0 where the teacher's amplitude replaces the student's.

    Args:
        losses: name -> loss modules by level; they are not changed.
        maps: name -> (student after its connector, teacher) by level.
        steps: of Adam; fewer where they take longer than 20 seconds.
        seed: of the losses' noise.
        objects: of the batch, for losses that ask for them.

    References:
        Shi et al., IEEE Signal Processing Letters 2024: the ATFM module that fuses both amplitudes.
    """
    name = "shortcut"
    if not maps:
        return Check(name, SKIP, "no loss compares maps")
    lines, facts, watched, removable = [], {}, [], False
    end = time.perf_counter() + SECONDS
    for loss_name, pairs in maps.items():
        modules = losses[loss_name]
        if not any(p.requires_grad for module in modules for p in module.parameters()):
            facts[loss_name] = {"removed": 0.0, "steps": 0}
            lines.append(f"{loss_name}: 0 %, it has no parameters of its own")
            continue
        with torch.random.fork_rng(devices=_devices(pairs)):
            found = shortcut(modules, pairs, steps=steps, seed=seed, end=end, objects=objects)
        facts[loss_name] = found
        removable = removable or found["removed"] > REMOVED_LIMIT
        line = (
            f"{loss_name}: {100 * found['removed']:.3g} % of it gone after {found['steps']} steps"
        )
        if found["steps"] < steps:
            line += f" of {steps} ({SECONDS:g} s were over)"
        moved = [name for name in found["scalars"] if len(set(found["scalars"][name])) > 1]
        for scalar in moved:
            before, after = found["scalars"][scalar]
            line += f", {scalar} {before:.3f} -> {after:.3f}"
            watched.append(f"distill/{loss_name}/{scalar}")
        lines.append(line)
    advice = "the loss can fall without the student learning"
    if watched:
        advice += f": watch {', '.join(watched)} in training"
    status = WARN if removable else OK
    return Check(name, status, "\n".join(lines), advice if removable else "", facts)


def shortcut(
    modules: Sequence[MapLoss],
    pairs: Pairs,
    *,
    steps: int,
    seed: int,
    end: float = math.inf,
    objects: Objects | None = None,
) -> dict[str, Any]:
    """Train copies of ``modules`` on fixed maps: ``removed`` share of the loss, and the steps.

    ``scalars``: name -> (before, after), each the mean over levels.

    Args:
        end: of ``time.perf_counter``; no step starts after it.
    """
    own = [copy.deepcopy(module) for module in modules]
    parameters = [p for module in own for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([{"params": [p], "lr": _rate(p)} for p in parameters])
    fixed = [(s.detach().float(), t.detach().float()) for s, t in pairs]

    def value() -> Tensor:
        levels = zip(own, fixed, strict=True)
        return torch.stack([m(s, t, **m.beside_maps(objects)) for m, (s, t) in levels]).sum()

    def mean() -> float:
        torch.manual_seed(seed)  # the same noise before and after
        with torch.no_grad():
            return sum(float(value()) for _ in range(DRAWS)) / DRAWS

    before, scalars = mean(), _scalars(own)
    done = 0
    torch.manual_seed(seed + 1)
    while done < steps and time.perf_counter() < end:
        optimizer.zero_grad(set_to_none=True)
        loss = value()
        if not loss.requires_grad:
            break
        loss.backward()
        optimizer.step()
        done += 1
    after, moved = mean(), _scalars(own)
    return {
        "removed": 1 - after / before if before > 0 else 0.0,
        "before": before,
        "after": after,
        "scalars": {name: (value, moved[name]) for name, value in scalars.items()},
        "steps": done,
    }


def _rate(parameter: Tensor) -> float:
    return VECTOR_RATE if parameter.ndim < 2 else MATRIX_RATE / parameter[0].numel() ** 0.5


def _scalars(modules: Sequence[MapLoss]) -> dict[str, float]:
    """The losses' own scalars, each the mean over the levels that have it."""
    levels = [module.scalars() for module in modules]
    names = dict.fromkeys(name for level in levels for name in level)
    own = {name: [level[name] for level in levels if name in level] for name in names}
    return {name: sum(values) / len(values) for name, values in own.items()}


def _devices(pairs: Pairs) -> list[int]:
    device = pairs[0][0].device
    return [device.index or 0] if device.type == "cuda" else []


def check_bands(
    losses: Mapping[str, Sequence[MapLoss]], maps: Mapping[str, Pairs], *, seed: int
) -> Check:
    """Which frequencies each loss is made of that can be cut into bands, and what balances them.

    Balanced: the bands below and above half of Nyquist contribute equally. FourierLoss's radius
    says which amplitudes count, and small amplitudes are those of high frequencies; so a larger
    radius moves the loss towards low frequencies. A loss without such a number has none to propose.
    """
    lines, facts, lopsided, proposals = [], {}, False, []
    for name, pairs in maps.items():
        for level, (module, pair) in enumerate(zip(losses[name], pairs, strict=True)):
            if not module.linear_in_mask:
                continue
            own = few_images(module, pair)
            shares = band_shares(module, own, BANDS, seed=seed)
            low = sum(shares[: BANDS.index(MIDDLE)])
            balanced = balancing_value(module, own, seed=seed)
            key = f"{name}.{level}"
            facts[key] = {
                "edges": list(BANDS),
                "shares": shares,
                "low_share": low,
                "balanced_by": module.balanced_by,
                "balancing_value": balanced,
            }
            line = f"{key}: {' | '.join(_share(share) for share in shares)} %"
            if module.balanced_by is not None:
                line += f", {module.balanced_by} {number(getattr(module, module.balanced_by))}, "
                line += "none balances" if balanced is None else f"{number(balanced)} balances"
            lines.append(line)
            judged = min(own[0].shape[2:]) >= SMALLEST
            if judged and not BALANCED[0] <= low <= BALANCED[1]:
                lopsided = True
                if balanced is not None:
                    proposals.append(f"{module.balanced_by}={number(balanced)} ({key})")
    if not lines:
        return Check("bands", SKIP, "no loss that a mask divides into bands")
    bands = " | ".join(f"{a:g}-{b:g}" for a, b in pairwise(BANDS))
    advice = ""
    if lopsided:
        advice = "one half of the spectrum makes over 90 % of a loss"
        if proposals:
            advice += f": {', '.join(proposals)} would balance it"
        else:
            advice += ": choose a mask"
    value = "\n".join([f"bands of Nyquist {bands}", *lines])
    return Check("bands", WARN if lopsided else OK, value, advice, facts)


def _share(share: float) -> str:
    return f"{100 * share:.3g}" if share else "-"


@dataclasses.dataclass(frozen=True)
class _Part:
    """The radii [low, high) of another mask; high None is an open top."""

    own: Mask
    low: float
    high: float | None

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        radius = torch.hypot(fy, fx)
        inside = radius >= self.low
        if self.high is not None:
            inside = inside & (radius < self.high)
        return self.own.raw(fy, fx) * inside


def few_images(loss: MapLoss, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The pair as the loss sizes it, with no more images than the probe's time allows."""
    s, t = match_maps(*pair, resize_stu=loss.resize_stu)
    images = max(1, ELEMENTS // max(1, s[0].numel()))
    return s[:images], t[:images]


@torch.no_grad()
def band_shares(
    loss: MapLoss, pair: tuple[Tensor, Tensor], edges: Sequence[float], *, seed: int
) -> list[float]:
    """Share of the loss in each band [low, high) of Nyquist, the last with an open top; sums to 1.

    Exact: the loss is linear in its mask, and its statistics are those of the whole spectrum.

    Args:
        loss: keeps its own mask; the bands divide what that lets pass.
        pair: (N, C, H, W) twice, of equal size.
        edges: from 0 on, increasing.
        seed: of the noise, the same for every band.
    """
    whole = _value(loss, pair, seed)
    if not whole > 0:
        return [0.0] * (len(edges) - 1)
    bands = [*pairwise(edges[:-1]), (edges[-2], None)]
    return [_part_value(loss, pair, low, high, seed) / whole for low, high in bands]


@torch.no_grad()
def balancing_value(loss: MapLoss, pair: tuple[Tensor, Tensor], *, seed: int) -> float | None:
    """The value nearest to the loss's own at which its low and high half are equal.

    None where no value from 1e-3 to 1e3 times its own does that, or it has no such number.
    """
    name = loss.balanced_by
    if name is None:
        return None
    own = float(getattr(loss, name))

    def excess(log_factor: float) -> float:
        trial = copy.copy(loss)
        setattr(trial, name, own * 10**log_factor)
        return band_shares(trial, pair, (0.0, MIDDLE, 1.0), seed=seed)[0] - 0.5

    here = excess(0.0)
    if here == 0:
        return own
    # a larger value favours low frequencies, as a rule: look there first
    for direction in (1, -1) if here < 0 else (-1, 1):
        for step in range(2 * DECADES):
            near, far = direction * step / 2, direction * (step + 1) / 2
            if (excess(far) < 0) != (here < 0):
                return float(own * 10 ** _bisect(excess, near, far, below=here < 0))
    return None


def _bisect(function: Callable[[float], float], near: float, far: float, *, below: bool) -> float:
    """A zero between two points, to 1/100; ``below``: the function is negative at ``near``."""
    while abs(far - near) > 0.01:
        middle = (near + far) / 2
        if (function(middle) < 0) == below:
            near = middle
        else:
            far = middle
    return (near + far) / 2


def _value(loss: MapLoss, pair: tuple[Tensor, Tensor], seed: int) -> float:
    with torch.random.fork_rng(devices=_devices([pair])):
        torch.manual_seed(seed)
        return float(loss(*pair))


def _part_value(
    loss: MapLoss, pair: tuple[Tensor, Tensor], low: float, high: float | None, seed: int
) -> float:
    """What the frequencies of one band add to the loss."""
    own = loss.mask or AllPass()
    part = copy.copy(loss)
    part.mask = _Part(own, low, high)
    height, width = pair[0].shape[2:]
    try:
        scaled = mask_weights(part.mask, height, width)
    except ConfigError:  # a map so small, or a mask so narrow, that the band is empty
        return 0.0
    # masks are scaled to a mean of 1: undo that by the ratio at a frequency of the band
    at = scaled.argmax()
    fraction = mask_weights(own, height, width).flatten()[at] / scaled.flatten()[at]
    return _value(part, pair, seed) * float(fraction)
