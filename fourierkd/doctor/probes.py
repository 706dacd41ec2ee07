"""What the loss rewards: in flow loss modules and fixed maps, out flow the two spectral probes.

The shortcut probe trains the losses' own parameters while the maps stay fixed. The band probe cuts
the Fourier loss into frequency bands and looks for the sphere radius that balances them.
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
from torch import Tensor, nn

from fourierkd.doctor.report import OK, SKIP, WARN, Check, number
from fourierkd.errors import ConfigError
from fourierkd.losses.fourier import FourierLoss
from fourierkd.losses.pairs import pair_levels
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
    losses: Mapping[str, Sequence[nn.Module]], maps: Mapping[str, Pairs], *, steps: int, seed: int
) -> Check:
    """How much of each loss its own parameters remove while student, connector and teacher rest.

    Adam trains them for ``steps`` steps on the maps of one batch. What they remove, the student
    never has to learn; the mixing weight a falling towards 0 shows it (the student's amplitude is
    replaced by the teacher's).

    Args:
        losses: name -> loss modules by level; they are not changed.
        maps: name -> (student after its connector, teacher) by level.
        steps: of Adam; fewer where they take longer than 20 seconds.
        seed: of the losses' noise.

    References:
        Shi et al., IEEE Signal Processing Letters 2024: the ATFM module that fuses both amplitudes.
    """
    name = "shortcut"
    if not maps:
        return Check(name, SKIP, "no loss compares maps")
    lines, facts, removable = [], {}, False
    end = time.perf_counter() + SECONDS
    for loss_name, pairs in maps.items():
        modules = losses[loss_name]
        if not any(p.requires_grad for module in modules for p in module.parameters()):
            facts[loss_name] = {"removed": 0.0, "steps": 0}
            lines.append(f"{loss_name}: 0 %, it has no parameters of its own")
            continue
        with torch.random.fork_rng(devices=_devices(pairs)):
            found = shortcut(modules, pairs, steps=steps, seed=seed, end=end)
        facts[loss_name] = found
        removable = removable or found["removed"] > REMOVED_LIMIT
        line = (
            f"{loss_name}: {100 * found['removed']:.3g} % of it gone after {found['steps']} steps"
        )
        if found["steps"] < steps:
            line += f" of {steps} ({SECONDS:g} s were over)"
        if found["mix_before"] is not None:
            line += f", a {found['mix_before']:.3f} -> {found['mix_after']:.3f}"
        lines.append(line)
    advice = "the loss can fall without the student learning: watch distill/<loss>/mix in training"
    status = WARN if removable else OK
    return Check(name, status, "\n".join(lines), advice if removable else "", facts)


def shortcut(
    modules: Sequence[nn.Module], pairs: Pairs, *, steps: int, seed: int, end: float = math.inf
) -> dict[str, Any]:
    """Train copies of ``modules`` on fixed maps: ``removed`` share of the loss, ``mix`` and steps.

    Args:
        end: of ``time.perf_counter``; no step starts after it.
    """
    own = nn.ModuleList([copy.deepcopy(module) for module in modules])
    parameters = [p for p in own.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam([{"params": [p], "lr": _rate(p)} for p in parameters])
    fixed = [(s.detach().float(), t.detach().float()) for s, t in pairs]

    def value() -> Tensor:
        return torch.stack([m(s, t) for m, (s, t) in zip(own, fixed, strict=True)]).sum()

    def mean() -> float:
        torch.manual_seed(seed)  # the same noise before and after
        with torch.no_grad():
            return sum(float(value()) for _ in range(DRAWS)) / DRAWS

    before, mix = mean(), _mix(own)
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
    after = mean()
    return {
        "removed": 1 - after / before if before > 0 else 0.0,
        "before": before,
        "after": after,
        "mix_before": mix,
        "mix_after": _mix(own),
        "steps": done,
    }


def _rate(parameter: Tensor) -> float:
    return VECTOR_RATE if parameter.ndim < 2 else MATRIX_RATE / parameter[0].numel() ** 0.5


def _mix(modules: nn.ModuleList) -> float | None:
    """Mean of a over levels and channels; None where no loss mixes."""
    logits = [getattr(getattr(m, "atfm", None), "mix_logit", None) for m in modules]
    means = [float(logit.detach().sigmoid().mean()) for logit in logits if logit is not None]
    return sum(means) / len(means) if means else None


def _devices(pairs: Pairs) -> list[int]:
    device = pairs[0][0].device
    return [device.index or 0] if device.type == "cuda" else []


def check_bands(
    losses: Mapping[str, Sequence[nn.Module]], maps: Mapping[str, Pairs], *, seed: int
) -> Check:
    """Which frequencies each Fourier loss is made of, and which sphere radius would balance them.

    Balanced: the bands below and above half of Nyquist contribute equally. The radius says which
    amplitudes count, and small amplitudes are those of high frequencies; so a larger radius moves
    the loss towards low frequencies. A loss without a sphere has no radius to propose.
    """
    lines, facts, lopsided, proposals = [], {}, False, []
    for name, pairs in maps.items():
        for level, (module, pair) in enumerate(zip(losses[name], pairs, strict=True)):
            if not isinstance(module, FourierLoss):
                continue
            own = few_images(module, pair)
            shares = band_shares(module, own, BANDS, seed=seed)
            low = sum(shares[: BANDS.index(MIDDLE)])
            radius = balancing_radius(module, own, seed=seed)
            key = f"{name}.{level}"
            facts[key] = {
                "edges": list(BANDS),
                "shares": shares,
                "low_share": low,
                "sphere_radius": module.sphere_radius,
                "balancing_radius": radius,
            }
            line = f"{key}: {' | '.join(_share(share) for share in shares)} %, "
            if module.sphere_radius is None:
                line += "no sphere"
            else:
                line += f"radius {number(module.sphere_radius)}, "
                line += "none balances" if radius is None else f"{number(radius)} balances"
            lines.append(line)
            judged = min(own[0].shape[2:]) >= SMALLEST
            if judged and not BALANCED[0] <= low <= BALANCED[1]:
                lopsided = True
                if radius is not None:
                    proposals.append(f"{number(radius)} ({key})")
    if not lines:
        return Check("bands", SKIP, "no FourierLoss")
    bands = " | ".join(f"{a:g}-{b:g}" for a, b in pairwise(BANDS))
    advice = ""
    if lopsided:
        advice = "one half of the spectrum makes over 90 % of a loss"
        if proposals:
            advice += f": sphere_radius={', '.join(proposals)} would balance it"
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


def few_images(loss: FourierLoss, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The pair as the loss sizes it, with no more images than the probe's time allows."""
    ((s, t),) = pair_levels(*pair, resize_stu=loss.resize_stu)
    images = max(1, ELEMENTS // max(1, s[0].numel()))
    return s[:images], t[:images]


@torch.no_grad()
def band_shares(
    loss: FourierLoss, pair: tuple[Tensor, Tensor], edges: Sequence[float], *, seed: int
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
def balancing_radius(loss: FourierLoss, pair: tuple[Tensor, Tensor], *, seed: int) -> float | None:
    """The sphere radius nearest to the present one at which low and high half are equal.

    Looked for over three decades up and down; None where no such radius lies there, or the loss has
    no sphere.
    """
    own = loss.sphere_radius
    if own is None:
        return None

    def excess(log_factor: float) -> float:
        trial = copy.copy(loss)
        trial.sphere_radius = own * 10**log_factor
        return band_shares(trial, pair, (0.0, MIDDLE, 1.0), seed=seed)[0] - 0.5

    here = excess(0.0)
    if here == 0:
        return own
    # a larger radius favours low frequencies, as a rule: look there first
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


def _value(loss: FourierLoss, pair: tuple[Tensor, Tensor], seed: int) -> float:
    with torch.random.fork_rng(devices=_devices([pair])):
        torch.manual_seed(seed)
        return float(loss(*pair))


def _part_value(
    loss: FourierLoss, pair: tuple[Tensor, Tensor], low: float, high: float | None, seed: int
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
