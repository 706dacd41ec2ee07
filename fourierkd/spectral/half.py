"""The half spectrum of a real map: in flows (N, C, H, W), out flow its frequencies, each once.

A real map has a Hermitian spectrum, F[-ky, -kx] = conj F[ky, kx], so the columns kx = 0 .. W//2 say
everything. Here always: norm "ortho" (Parseval without factors), axes (H, W), DC at [0, 0], rows in
fftfreq order.
"""

from __future__ import annotations

import torch
from torch import Tensor

# An amplitude below this many roundings of the map's rms is what the FFT left of an exact zero.
ZERO_ROUNDINGS = 16


def half_spectrum(feature: Tensor) -> Tensor:
    """Orthonormal 2-D Fourier transform of a real map, without the redundant columns.

    Args:
        feature: (..., H, W), real, float32 or float64.

    Returns:
        (..., H, W//2 + 1), complex; DC at [..., 0, 0].
    """
    result: Tensor = torch.fft.rfft2(feature, norm="ortho")
    return result


def map_of_half_spectrum(spectrum: Tensor, width: int) -> Tensor:
    """Inverse of ``half_spectrum``: (..., H, width//2 + 1), complex -> (..., H, width), real."""
    result: Tensor = torch.fft.irfft2(spectrum, s=(spectrum.shape[-2], width), norm="ortho")
    return result


def hermitian_weights(
    width: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """How often the full spectrum has each column of the half: 1, 2, ..., 2, and 1 last for even W.

    A sum over the full spectrum of anything equal at F and conj F is the sum over the half spectrum
    with these weights; they add up to W.

    Returns:
        (W//2 + 1,), ones and twos.

    >>> hermitian_weights(6).tolist(), hermitian_weights(5).tolist()
    ([1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 2.0])
    """
    weights = torch.full((width // 2 + 1,), 2.0, device=device, dtype=dtype)
    weights[0] = 1.0
    if width % 2 == 0:
        weights[-1] = 1.0
    return weights


def full_plane(half: Tensor, width: int, *, odd: bool = False) -> Tensor:
    """From the half to the full spectrum, rows and columns in fftfreq order.

    Args:
        half: (..., H, W//2 + 1), real, equal at k and -k, or of the other sign there.
        width: W of the full spectrum.
        odd: of the other sign, as the imaginary part of a real map's spectrum is.

    Returns:
        (..., H, W).
    """
    mirrored = half[..., 1 : (width + 1) // 2].flip((-2, -1)).roll(1, -2)  # at (-ky, W - kx)
    return torch.cat((half, -mirrored if odd else mirrored), -1)


def half_of_sums(full: Tensor, *, odd: bool = False) -> Tensor:
    """Transpose of ``full_plane``: the sum at k and -k, on the half spectrum.

    Columns 0 and W/2 hold both members of a pair, so each of the two takes half of their sum: for a
    gradient at something that is equal (or opposite) at k and -k, this is one that is so itself.

    Args:
        full: (..., H, W), real.
        odd: the difference in place of the sum.

    Returns:
        (..., H, W//2 + 1).
    """
    width = full.shape[-1]
    columns = width // 2 + 1
    mirrored = full.flip((-2, -1)).roll((1, 1), (-2, -1))[..., :columns]
    half = full[..., :columns] + (-mirrored if odd else mirrored)
    return half.mul_(hermitian_weights(width, device=full.device, dtype=full.dtype) / 2)


def half_noise(like: Tensor, width: int) -> Tensor:
    """Uniform [0, 1) noise on the half spectrum that keeps it that of a real map.

    Drawn from torch's default generator of the device. Columns 0 and W/2 hold both members of a
    conjugate pair, so there the second member takes the first one's value.

    Args:
        like: (..., H, W//2 + 1), real; gives shape, dtype and device.
        width: W of the full spectrum.

    Returns:
        Noise of the shape of ``like``, equal at k and -k.
    """
    noise = torch.rand_like(like)
    height = noise.shape[-2]
    pairs = (height - 1) // 2
    for column in (0,) if width % 2 else (0, -1):
        noise[..., height - pairs :, column] = noise[..., 1 : pairs + 1, column].flip(-1)
    return noise


def inverse_amplitude(amplitude: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
    """1 / |F|, and 0 where F is no more than rounding; and where that is.

    Args:
        amplitude: |F|, (N, C, H, W//2 + 1).
        feature: the map whose spectrum F is, (N, C, H, W).
    """
    rms = torch.linalg.vector_norm(feature, dim=(2, 3), keepdim=True)
    rms = rms / (feature.shape[2] * feature.shape[3]) ** 0.5  # Parseval: of the spectrum as well
    zero = amplitude <= rms * (ZERO_ROUNDINGS * torch.finfo(feature.dtype).eps)
    return amplitude.reciprocal().masked_fill_(zero, 0.0), zero
