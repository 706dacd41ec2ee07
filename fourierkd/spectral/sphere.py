"""Complex numbers on the Riemann sphere: in flow real and imaginary part, out flow x, y, z."""

from __future__ import annotations

from torch import Tensor


def riemann_sphere(
    real: Tensor, imag: Tensor, *, radius: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Inverse stereographic projection of X / radius onto the unit sphere.

    .. math:: R(X) = \frac{(2 r \Re X,\; 2 r \Im X,\; |X|^2 - r^2)}{|X|^2 + r^2}

    The sphere is a hidden frequency mask: amplitudes far below r all lie at the south pole, those
    far above r at the north pole, and only those near r count. So r sets which band a spectral loss
    sees.

    Args:
        real: real part of X, any shape, float.
        imag: imaginary part of X, same shape.
        radius: r > 0, in units of |X|.

    Returns:
        Three tensors of the input shape, each in [-1, 1], squares adding up to 1.

    References:
        Shi et al., "Knowledge Distillation in Fourier Frequency Domain for Dense Prediction",
        IEEE Signal Processing Letters 2024, doi 10.1109/LSP.2024.3515795.

    >>> import torch
    >>> [f"{x:.6f}" for x in riemann_sphere(torch.tensor(3.0), torch.tensor(0.0))]
    ['0.600000', '0.000000', '0.800000']
    """
    power = real.square() + imag.square()
    inverse = 1.0 / (power + radius**2)
    scale = inverse * (2.0 * radius)
    return real * scale, imag * scale, (power - radius**2) * inverse
