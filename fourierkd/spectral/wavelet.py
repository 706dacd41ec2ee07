"""Haar wavelets of feature maps: in flow maps (N, C, H, W), out flow their bands, and back.

Orthonormal: the bands of a map whose sides can be halved ``levels`` times have its energy
(Parseval). The first letter of a band is along y, the second along x: LH is low along y and high
along x, so it has vertical edges; HL horizontal ones; HH corners and checks. The details of level j
(1 is the finest) lie around 2^-j to 2^-(j-1) of Nyquist, LL of the last below; the bands overlap
widely. A side that cannot be halved is lengthened by its last row or column, so that a constant map
has no detail at any size; a side of 1 goes on as it is, as if the map were constant along it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def haar(x: Tensor, levels: int = 1) -> list[Tensor]:
    """Bands of a map: LH, HL, HH of level 1 (the finest), of level 2, ..., and LL of the last.

    Args:
        x: (N, C, H, W), real.
        levels: how often the low band is taken apart again, >= 1.

    Returns:
        3 levels + 1 bands; those of level j are (N, C, ceil(H / 2^j), ceil(W / 2^j)).

    >>> ramp = torch.arange(16.0).reshape(1, 1, 4, 4)  # 1 a column, 4 a row
    >>> [band.flatten().tolist()[0] for band in haar(ramp)]
    [-1.0, -4.0, 0.0, 5.0]
    """
    return _scaled(haar_sums(x, levels))


def inverse_haar(bands: Sequence[Tensor], height: int, width: int) -> Tensor:
    """The map (N, C, height, width) of the bands that ``haar`` gave of it."""
    return _merged(_scaled(bands), height, width, fold=False)


def haar_sums(x: Tensor, levels: int) -> list[Tensor]:
    """Those bands times 2^j: plain sums and differences of pixels, which take less time."""
    bands = []
    for _ in range(levels):
        x, *details = _split(x)
        bands += details
    return [*bands, x]


def haar_sums_adjoint(bands: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Transpose of ``haar_sums``: from gradients at the bands that at the map.

    What was added to a side of odd length counts for the row or column that it came from.
    """
    return _merged(bands, height, width, fold=True)


def levels_of(bands: Sequence[Tensor] | Sequence[float]) -> list[int]:
    """The level of each band, such as 1, 1, 1, 2, 2, 2, 2."""
    return [min(1 + i // 3, len(bands) // 3) for i in range(len(bands))]


def _scaled(bands: Sequence[Tensor]) -> list[Tensor]:
    return [band / 2**level for band, level in zip(bands, levels_of(bands), strict=True)]


def _merged(bands: Sequence[Tensor], height: int, width: int, *, fold: bool) -> Tensor:
    sizes = [(height, width)]
    for _ in range(len(bands) // 3 - 1):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    low = bands[-1]
    for level, size in reversed(list(enumerate(sizes))):
        low = _merge(low, *bands[3 * level : 3 * level + 3])
        low = _shortened(low, *size, fold=fold)
    return low


def _split(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LL, LH, HL, HH of one level, times 2."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
    top, bottom = x[..., 0::2, :], x[..., 1::2, :]
    low, high = top + bottom, top - bottom
    low_left, low_right = low[..., 0::2], low[..., 1::2]
    high_left, high_right = high[..., 0::2], high[..., 1::2]
    return (
        low_left + low_right,
        low_left - low_right,
        high_left + high_right,
        high_left - high_right,
    )


def _merge(ll: Tensor, lh: Tensor, hl: Tensor, hh: Tensor) -> Tensor:
    """Transpose of ``_split`` of an even map."""
    n, c, height, width = ll.shape
    x = ll.new_empty(n, c, height, 2, width, 2)
    left_top, left_bottom = ll + hl, ll - hl
    right_top, right_bottom = lh + hh, lh - hh
    x[..., 0, :, 0] = left_top + right_top
    x[..., 0, :, 1] = left_top - right_top
    x[..., 1, :, 0] = left_bottom + right_bottom
    x[..., 1, :, 1] = left_bottom - right_bottom
    return x.view(n, c, 2 * height, 2 * width)


def _shortened(x: Tensor, height: int, width: int, *, fold: bool) -> Tensor:
    """Without the row and column that ``_split`` added, or with them added to their neighbours."""
    if x.shape[-2] > height:
        x, rest = x[..., :height, :], x[..., height:, :]
        if fold:
            x = torch.cat((x[..., :-1, :], x[..., -1:, :] + rest), -2)
    if x.shape[-1] > width:
        x, rest = x[..., :width], x[..., width:]
        if fold:
            x = torch.cat((x[..., :-1], x[..., -1:] + rest), -1)
    return x
