"""Negative controls: in flow a teacher's maps, out flow maps that lack what should have helped.

A method whose gain stays under one of them does not owe it to what the teacher knows of the image.
The third control is a teacher with random weights (``checkpoint="random"``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.spectral.half import half_spectrum, map_of_half_spectrum

SEED = 1717  # of the phases; none that a run starts from


def of_another_image(maps: Tensor) -> Tensor:
    """Each image has the maps of the one before it in the batch, the first those of the last.

    Args:
        maps: (N, C, H, W).

    Raises:
        ConfigError: there is no other image.
    """
    if len(maps) < 2:
        raise ConfigError(
            "model.teacher.control='other_image' needs two or more images in every batch",
            value=len(maps),
            fix="set a train_dataloader.batch_size above 1, and drop_last=True",
        )
    return maps.roll(1, 0)


def with_random_phases(maps: Tensor) -> Tensor:
    r"""Maps with the amplitudes of their spectra and random phases: which patterns, but not where.

    .. math:: f'_{nc} = F^{-1}\big(|F f_{nc}| \, u_c\big), \qquad u_c = F g_c / |F g_c|

    with g white noise, drawn once and the same for every image, as a teacher is the same in every
    epoch; the mean of a map, its frequency 0, stays.

    Args:
        maps: (N, C, H, W), real; half precision comes back as it was.
    """
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.randn(maps.shape[1:], generator=generator).to(maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        spectrum = half_spectrum(maps.float())
        phases = torch.sgn(half_spectrum(noise))  # (C, H, W//2 + 1), of length 1
        shuffled = spectrum.abs() * phases
        shuffled[..., 0, 0] = spectrum[..., 0, 0]
        return map_of_half_spectrum(shuffled, maps.shape[3]).to(maps.dtype)


CONTROLS: dict[str, Callable[[Tensor], Tensor]] = {
    "other_image": of_another_image,
    "random_phases": with_random_phases,
}
