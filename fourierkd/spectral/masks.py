"""Frequency masks: in flows a small description, out flow weights on the error of every frequency.

A mask is a frozen dataclass whose numbers are fractions of Nyquist (0.5 cycles per pixel), so it
means the same at every level and resolution. Radii run to sqrt(2) in the corners of the spectrum; a
bound of 1 is an open top that includes them. Bands are [low, high). ``mask_weights`` gives the
weights for one size, scaled to a mean of 1 over the full spectrum: an error that is white over
frequency keeps the scale of its loss.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from fourierkd.errors import ConfigError, near
from fourierkd.spectral.half import hermitian_weights

MaskConfig = Mapping[str, Any]
ROUNDINGS = 4  # of a radius, relative, in units of its dtype's epsilon: at most 2.5


class Mask(Hashable, Protocol):
    """What all masks offer: raw weights over frequency, before the scaling of ``mask_weights``."""

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        """Weights >= 0 at vertical and horizontal frequency fy, fx, in fractions of Nyquist."""
        ...


@dataclasses.dataclass(frozen=True)
class AllPass:
    """Every frequency counts alike."""

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        return torch.ones_like(_radius(fy, fx))


@dataclasses.dataclass(frozen=True)
class LowPass:
    """1 below the radius ``cutoff``, 0 from there on.

    ``soft`` is the width of a half-cosine edge around the cutoff. cutoff in (0, 1]; 1 lets
    everything pass. soft in [0, 1].
    """

    cutoff: float = 0.5
    soft: float = 0.0

    def __post_init__(self) -> None:
        _check("cutoff", self.cutoff, above=0.0, most=1.0)
        _check("soft", self.soft, least=0.0, most=1.0)

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        radius = _radius(fy, fx)
        return (
            torch.ones_like(radius)
            if self.cutoff == 1
            else 1 - _step(radius, self.cutoff, self.soft)
        )


@dataclasses.dataclass(frozen=True)
class HighPass:
    """0 below the radius ``cutoff``, 1 from there on.

    ``soft`` is the width of a half-cosine edge around the cutoff. cutoff in [0, 1], soft in [0, 1].
    """

    cutoff: float = 0.5
    soft: float = 0.0

    def __post_init__(self) -> None:
        _check("cutoff", self.cutoff, least=0.0, most=1.0)
        _check("soft", self.soft, least=0.0, most=1.0)

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        return _step(_radius(fy, fx), self.cutoff, self.soft)


@dataclasses.dataclass(frozen=True)
class BandPass:
    """1 for radii in [low, high), 0 elsewhere; half-cosine edges of width ``soft`` around both.

    0 <= low < high <= 1; low 0 and high 1 are open ends without an edge. soft in [0, 1].
    """

    low: float = 0.25
    high: float = 0.5
    soft: float = 0.05

    def __post_init__(self) -> None:
        _check("low", self.low, least=0.0, most=1.0)
        _check("high", self.high, above=0.0)
        if not self.low < self.high <= 1:
            raise ConfigError(
                f"high must be in (low, 1] of Nyquist, with low {self.low:g}",
                value=self.high,
                fix="use high=1.0 for an open top" if self.high > 1 else "exchange low and high",
            )
        _check("soft", self.soft, least=0.0, most=1.0)

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        radius = _radius(fy, fx)
        weights = torch.ones_like(radius)
        if self.low > 0:
            weights = weights * _step(radius, self.low, self.soft)
        if self.high < 1:
            weights = weights * (1 - _step(radius, self.high, self.soft))
        return weights


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """exp(-(radius - center)^2 / (2 width^2)): a soft low-pass with center 0, else a soft band.

    center in [0, 1.5], width > 0.
    """

    center: float = 0.0
    width: float = 0.25

    def __post_init__(self) -> None:
        _check("center", self.center, least=0.0, most=1.5)
        _check("width", self.width, above=0.0)

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((_radius(fy, fx) - self.center) / self.width) ** 2)


@dataclasses.dataclass(frozen=True)
class RadialKnots:
    """Piecewise linear in radius through ``weights`` at ``knots``; constant outside them.

    weights: at least one, each >= 0, not all 0. knots: as many, increasing, in [0, 1.5]; left out:
        even over [0, 1].
    """

    weights: tuple[float, ...]
    knots: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        weights = _numbers("weights", self.weights)
        count = len(weights)
        if self.knots is None:
            knots = tuple(i / max(1, count - 1) for i in range(count))
        else:
            knots = _numbers("knots", self.knots, most=1.5)
        if len(knots) != count or any(a >= b for a, b in pairwise(knots)):
            raise ConfigError(
                f"knots must be {count} increasing numbers, one per weight", value=knots
            )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "knots", knots)

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        radius = _radius(fy, fx)
        knots = self.knots or ()
        weights = torch.full_like(radius, self.weights[0])
        for i in range(1, len(knots)):  # a ramp between neighbours, each adding its rise
            share = ((radius - knots[i - 1]) / (knots[i] - knots[i - 1])).clamp(0, 1)
            weights = weights + share * (self.weights[i] - self.weights[i - 1])
        return weights.clamp_min(0)


@dataclasses.dataclass(frozen=True)
class OrientationSectors:
    """One weight for each of k equal sectors of orientation, [i, i + 1) * 180 / k degrees.

    Orientation is that of the wave vector: 0 degrees varies along x (vertical stripes), 90 along y,
    and angles grow from +x to +y (downwards). DC has no orientation and takes the mean weight.
    weights: each >= 0, not all 0.
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _numbers("weights", self.weights))

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        fy, fx = torch.broadcast_tensors(fy, fx)
        count = len(self.weights)
        turn = torch.atan2(fy, fx) / math.pi % 1.0  # k and -k agree
        # rounding must not push an angle on a border to the sector below
        sector = (turn * count + 1e-9).floor().long() % count
        table = torch.tensor(self.weights, dtype=fy.dtype, device=fy.device)
        mean = sum(self.weights) / count
        return torch.where((fy == 0) & (fx == 0), table.new_tensor(mean), table[sector])


@dataclasses.dataclass(frozen=True)
class Product:
    """The product of several masks, for example a band of one orientation."""

    masks: tuple[Mask, ...]

    def __post_init__(self) -> None:
        if isinstance(self.masks, (str, Mapping)) or not hasattr(self.masks, "__iter__"):
            raise ConfigError("masks must be a list of masks", value=self.masks)
        masks = tuple(build_mask(mask) for mask in self.masks)
        if not masks:
            raise ConfigError("masks must name at least one mask", value=masks)
        object.__setattr__(self, "masks", masks)

    def raw(self, fy: Tensor, fx: Tensor) -> Tensor:
        return math.prod((mask.raw(fy, fx) for mask in self.masks), start=torch.ones_like(fy * fx))


MASKS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        AllPass,
        LowPass,
        HighPass,
        BandPass,
        Gaussian,
        RadialKnots,
        OrientationSectors,
        Product,
    )
}


def build_mask(cfg: Mask | MaskConfig | None) -> Mask:
    """A mask from ``dict(type="LowPass", cutoff=0.5)``; a mask passes through, None is ``AllPass``.

    Raises:
        ConfigError: unknown type or key (near names are listed), or a number outside its range.

    >>> build_mask(dict(type="BandPass", low=0.2, high=0.6))
    BandPass(low=0.2, high=0.6, soft=0.05)
    """
    if cfg is None:
        return AllPass()
    if isinstance(cfg, tuple(MASKS.values())):
        return cast(Mask, cfg)
    if not isinstance(cfg, Mapping) or not isinstance(cfg.get("type"), str):
        raise ConfigError(
            "a mask must be dict(type=..., ...)", value=cfg, fix=f"types: {', '.join(MASKS)}"
        )
    arguments = dict(cfg)
    name = arguments.pop("type")
    if name not in MASKS:
        raise ConfigError("unknown mask type", value=name, fix=near(name, MASKS))
    fields = dataclasses.fields(MASKS[name])
    known = [field.name for field in fields]
    for key in arguments:
        if key not in known:
            raise ConfigError(f"unknown key of mask {name}", value=key, fix=near(str(key), known))
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in arguments:
            raise ConfigError(f"mask {name} needs {field.name}", fix=f"{field.name}=[...]")
    return cast(Mask, MASKS[name](**arguments))


def mask_config(mask: Mask) -> dict[str, Any]:
    """The config that builds the mask again, of JSON types only.

    >>> mask_config(LowPass(0.5))
    {'type': 'LowPass', 'cutoff': 0.5, 'soft': 0.0}
    """
    description: dict[str, Any] = {"type": type(mask).__name__}
    for field in dataclasses.fields(cast(Any, mask)):
        value = getattr(mask, field.name)
        if isinstance(value, tuple):
            value = [x if isinstance(x, float) else mask_config(x) for x in value]
        description[field.name] = value
    return description


def mask_weights(
    mask: Mask,
    height: int,
    width: int,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weights on the half spectrum of one size, with mean 1 over the full spectrum; cached.

    Args:
        mask: any mask of this module.
        height: H of the map.
        width: W of the map.
        device: of the result; None is torch's default.
        dtype: of the result, float.

    Returns:
        (H, W//2 + 1), >= 0, laid out as ``half_spectrum``. Shared between calls: do not change it
        in place.

    Raises:
        ConfigError: the mask is zero at every frequency that a map of this size has.
    """
    device = torch.empty(0, device=device).device if device is None else device
    return _cached_weights(mask, height, width, device, dtype)


@functools.lru_cache(maxsize=128)
def _cached_weights(
    mask: Mask, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        fy = 2 * torch.fft.fftfreq(height, dtype=torch.float64)[:, None]  # fractions of Nyquist
        fx = 2 * torch.fft.rfftfreq(width, dtype=torch.float64)
        # the frequency +-Nyquist has two signs, hence two orientations: take the mean
        fy_other = torch.where(fy == -1, 1.0, fy)
        fx_other = torch.where(fx == 1, -1.0, fx)
        raw = sum(mask.raw(y, x) for y in (fy, fy_other) for x in (fx, fx_other)) / 4
        assert isinstance(raw, Tensor)
        mean = (raw * hermitian_weights(width, dtype=torch.float64)).sum() / (height * width)
        if mean <= 0:
            raise ConfigError(
                f"the mask lets no frequency of a {height} x {width} map pass",
                value=mask_config(mask),
                fix="widen it or give it a soft edge",
            )
        return (raw / mean).to(device=device, dtype=dtype)


def _radius(fy: Tensor, fx: Tensor) -> Tensor:
    return torch.sqrt(fy**2 + fx**2)


def _step(radius: Tensor, at: float, soft: float) -> Tensor:
    """0 below ``at``, 1 from there on; with a half-cosine rise of width ``soft`` centred on it."""
    if soft == 0:
        # A radius carries the roundings of two frequencies, their squares and a root: a ring that
        # lies on the edge is on its upper side at every size, whichever way they went.
        ring = ROUNDINGS * torch.finfo(radius.dtype).eps * at
        return (radius >= at - ring).to(radius.dtype)
    rise = ((radius - at) / soft + 0.5).clamp(0, 1)
    return 0.5 - 0.5 * torch.cos(math.pi * rise)


def _check(
    name: str,
    value: float,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= least and value > above and value <= most):
        low = f"(above {above:g}" if above > -math.inf else f"(at least {least:g}"
        high = f", at most {most:g})" if most < math.inf else ")"
        raise ConfigError(
            f"{name} must be a number {low}{high}, in fractions of Nyquist", value=value
        )


def _numbers(name: str, values: object, *, most: float = math.inf) -> tuple[float, ...]:
    """A non-empty list of numbers >= 0 that are not all 0, as a tuple of floats."""
    if not isinstance(values, (list, tuple)) or not values:
        raise ConfigError(f"{name} must be a non-empty list of numbers", value=values)
    for value in values:
        _check(f"each of {name}", value, least=0.0, most=most)
    if name == "weights" and not any(values):
        raise ConfigError("weights must not all be 0", value=values)
    return tuple(float(value) for value in values)
