"""A nuisance of known frequencies on a teacher's maps: in flow image and map, out flows the sum.

A task whose right frequency mask is known by construction: what the teacher's map holds in the
nuisance's band is mostly useless, and no student gains by imitating it. It stands for what real
teachers have there: aliasing of strided layers, patterns of upsampling, noise of the sensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourierkd.errors import ConfigError, near
from fourierkd.losses.base import check_weight
from fourierkd.spectral.half import half_spectrum, map_of_half_spectrum
from fourierkd.spectral.masks import build_mask, mask_weights

KEYS = ("mask", "scale", "seed")
HIDDEN, KERNEL = 32, 5


class Nuisance:
    r"""Add a fixed random function of the image, limited to a band, to feature maps.

    .. math::

        g = \mathrm{Conv}_{1\times1}(\mathrm{nearest}(|\mathrm{Conv}_{5\times5}(x)|)), \qquad
        h = \mathrm{irfft}(M \cdot \mathrm{rfft}(g)), \qquad
        f'_{nc} = f_{nc} + s \, \sigma(f_{nc}) \, h_{nc} / \mathrm{rms}(h_{nc})

    with weights drawn once from the seed, M the mask, sigma the standard deviation over space and s
    the scale. It depends on nothing but the image and its own map, so it is the same in every
    epoch and batch, as a real teacher's flaws are.

    Args:
        mask: config of the band that the nuisance fills, ``dict(type="HighPass", cutoff=0.5)``, in
            fractions of the map's Nyquist frequency.
        scale: s, in standard deviations of the map, >= 0.
        seed: of the random function.

    Raises:
        ConfigError: an unknown key, or a value out of its range.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        for key in set(config) - set(KEYS):
            raise ConfigError(
                "unknown key of model.teacher.nuisance", value=key, fix=near(key, KEYS)
            )
        if config.get("mask") is None:
            raise ConfigError(
                "model.teacher.nuisance needs the band it fills",
                fix="e.g. mask=dict(type='HighPass', cutoff=0.5)",
            )
        self.mask = build_mask(config["mask"])
        self.scale = check_weight(config.get("scale", 1.0), "model.teacher.nuisance.scale")
        seed = config.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError("model.teacher.nuisance.seed is a whole number from 0 on", value=seed)
        self.seed = seed
        self._weights: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, image: Tensor, feature: Tensor) -> Tensor:
        """The map with its nuisance: (N, 3, H, W), (N, C, h, w) -> (N, C, h, w)."""
        image, clean = image.float(), feature.float()
        first, second = self._functions(image.shape[1], clean.shape[1])
        with torch.autocast(image.device.type, enabled=False):
            edges = F.conv2d(image, first.to(image.device), padding=KERNEL // 2).abs()
            edges = F.interpolate(edges, size=clean.shape[2:], mode="nearest")
            pattern = F.conv2d(edges, second.to(image.device))  # (N, C, h, w)
            height, width = clean.shape[2:]
            weights = mask_weights(self.mask, height, width, device=image.device)
            pattern = map_of_half_spectrum(half_spectrum(pattern) * weights, width)
        rms = pattern.square().mean((2, 3), keepdim=True).sqrt()
        deviation = clean.var((2, 3), correction=0, keepdim=True).sqrt()
        tiny = torch.finfo(torch.float32).tiny
        return (clean + self.scale * deviation * pattern / rms.clamp_min(tiny)).to(feature.dtype)

    def _functions(self, colours: int, channels: int) -> tuple[Tensor, Tensor]:
        """Weights (HIDDEN, colours, 5, 5) and (channels, HIDDEN, 1, 1), the same at every call."""
        if (colours, channels) not in self._weights:
            generator = torch.Generator().manual_seed(self.seed)
            first = torch.randn(HIDDEN, colours, KERNEL, KERNEL, generator=generator)
            second = torch.randn(channels, HIDDEN, 1, 1, generator=generator)
            self._weights[colours, channels] = (
                first / math.sqrt(colours * KERNEL**2),
                second / math.sqrt(HIDDEN),
            )
        return self._weights[colours, channels]
