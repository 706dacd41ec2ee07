"""Imitation of amplitudes alone or of phases alone: in flow two maps, out flows a scalar.

By the law of cosines |F_S - F_T|^2 = (A_S - A_T)^2 + A_S A_T |e^(i P_S) - e^(i P_T)|^2: feature L2
is both at once. Each loss here is feature L2 after the student's map was given the teacher's other
half, so neither is lowered by what it does not look at.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from fourierkd.losses.base import MapLoss, check_switch
from fourierkd.spectral.band_distance import (
    Rule,
    band_distances,
    centred,
    energy,
    inverse_deviation,
)
from fourierkd.spectral.coordinates import BN_EPS
from fourierkd.spectral.half import half_spectrum, inverse_amplitude
from fourierkd.spectral.masks import AllPass, Mask, MaskConfig, build_mask, mask_weights

# A student's amplitude below this share of its channel's rms in the band has a phase by halves.
SOFTNESS = 0.01


def amplitude_l2(
    student: Tensor, teacher: Tensor, *, mask: Mask | None = None, normalize: bool = False
) -> Tensor:
    r"""Mean squared difference of the amplitudes of two maps' spectra, whatever their phases.

    .. math::

        L = \operatorname{mean}_{n,c,\kappa} m_\kappa (|Z_S| - |Z_T|)^2, \qquad
        Z = \mathrm{FFT2}(f, \mathrm{ortho})

    with m the mask's weights (mean 1 over the full spectrum). With ``normalize``, Z is that of
    maps whose channels have mean 0 and variance 1 within the band, as in ``spectral_l2``. An
    amplitude does not change when the map is shifted (circularly): what is compared is which
    patterns there are, not where.

    It is never above ``spectral_l2``, and equals it for a student with the teacher's phases.

    The derivative of |Z_S| is the phasor Z_S / |Z_S|, of length 1 however small the amplitude, so
    gradients need no eps. At an amplitude of 0 it has no direction and is taken as 0, as it is
    where |Z_S| is no more than the rounding that an FFT leaves of a 0 (``inverse_amplitude``).

    Args:
        student: (N, C, H, W), real float32 or float64.
        teacher: same shape and dtype; gets no gradient.
        mask: weights on the squared error per frequency; None passes all.
        normalize: see above.

    Returns:
        Scalar, in squared units of the features (dimensionless when normalised). Differentiable
        once.

    Raises:
        ConfigError: the mask lets no frequency of a map of this size pass.

    References:
        Ours. Amplitudes of two networks' maps, fused in place of compared: Shi et al., IEEE Signal
        Processing Letters 2024, doi 10.1109/LSP.2024.3515795. Normalised maps: Cao et al., "PKD",
        NeurIPS 2022, eq. 4.

    >>> stripes = torch.tensor([1.0, 3.0, 1.0, 3.0]).expand(1, 1, 4, 4)  # mean 2, Nyquist 1
    >>> round(amplitude_l2(stripes, stripes.roll(1, -1)).item(), 6)  # shifted by one pixel
    0.0
    >>> round(amplitude_l2(stripes, torch.zeros(1, 1, 4, 4)).item(), 6)
    5.0
    """
    return _in_band(student, teacher, mask, partial(_amplitude_error, normalize=normalize))


def phase_l2(
    student: Tensor,
    teacher: Tensor,
    *,
    mask: Mask | None = None,
    weighted: bool = True,
    normalize: bool = False,
) -> Tensor:
    r"""Mean squared distance of the phasors of two maps' spectra, whatever the student's amplitude.

    .. math::

        L = \operatorname{mean}_{n,c,\kappa} m_\kappa A_T^2 |u_S - u_T|^2, \qquad
        u = e^{iP}, \quad A e^{iP} = Z = \mathrm{FFT2}(f, \mathrm{ortho})

    with m the mask's weights (mean 1 over the full spectrum), and without the factor A_T^2 for
    ``weighted=False``. With ``normalize``, both Z are those of maps without the means of their
    channels, and A_T is that of a map whose channels have variance 1 within the band, so that every
    channel counts alike (the student's variance does not count anyway).

    Why phasors: a squared difference of angles jumps at 180 degrees, |u_S - u_T|^2 = 2 - 2 cos(P_S
    - P_T) is smooth. Why the teacher's amplitude as the weight: a phase says nothing where there is
    no amplitude, and the student's own in its place could be lowered by a smaller student. So L is
    ``spectral_l2`` for a student with the teacher's amplitudes.

    The phase has no value at an amplitude of 0, and its derivative grows as 1 / |Z_S| towards it.
    The student's phasor is therefore

    .. math::

        u_S = Z_S / \sqrt{|Z_S|^2 + \tau^2 v_c + \epsilon}, \qquad
        v_c = \operatorname{mean}_{n,\kappa} m_\kappa |Z_S|^2

    with tau 0.01 and eps 1e-5: at 1 % of the channel's rms within the band its length is 0.71, from
    10 % on above 0.995. It does not change with the scale of the student's map as long as that is
    well above 3e-3, and its derivative is at most 1 / sqrt(tau^2 v + eps): finite for a map of
    zeros, and there towards the teacher's phase. With ``weighted=False`` the teacher's phasor is
    taken in the same way, so where it has no amplitude either the student may have any phase.

    Args:
        student: (N, C, H, W), real float32 or float64.
        teacher: same shape and dtype; gets no gradient.
        mask: weights on the squared error per frequency; None passes all.
        weighted: see above.
        normalize: see above.

    Returns:
        Scalar. Weighted: in squared units of the teacher's features, or dimensionless when
        normalised. Not weighted: dimensionless, in [0, 4]. Differentiable once.

    Raises:
        ConfigError: the mask lets no frequency of a map of this size pass.

    References:
        Ours. Normalised maps: Cao et al., "PKD", NeurIPS 2022, eq. 4.

    >>> stripes = torch.tensor([1.0, 3.0, 1.0, 3.0]).expand(1, 1, 4, 4)  # mean 2, Nyquist 1
    >>> round(phase_l2(5 * stripes, stripes).item(), 3)
    0.0
    >>> round(phase_l2(stripes.roll(1, -1), stripes).item(), 3)  # Nyquist is turned by 180 degrees
    4.0
    """
    rule = partial(_phase_error, weighted=weighted, normalize=normalize)
    return _in_band(student, teacher, mask, rule)


class _BandLoss(MapLoss):
    """What both losses have: a mask, and a switch that normalises."""

    def __init__(
        self,
        loss_weight: float,
        *,
        mask: Mask | MaskConfig | None,
        normalize: bool,
        resize_stu: bool,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.mask = build_mask(mask)
        self.normalize = check_switch(normalize, "normalize")

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, normalize={self.normalize}, mask={self.mask}"


class AmplitudeL2(_BandLoss):
    """``amplitude_l2`` of two maps, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        mask: None, a mask, or its config ``dict(type=...)``.
        normalize: standardise every channel within the band first; off by default.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        mask: Mask | MaskConfig | None = None,
        normalize: bool = False,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, mask=mask, normalize=normalize, resize_stu=resize_stu)
        self.linear_in_mask = not self.normalize  # else the band sets the scale

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``amplitude_l2``."""
        return amplitude_l2(student, teacher, mask=self.mask, normalize=self.normalize)


class PhaseL2(_BandLoss):
    """``phase_l2`` of two maps, without parameters; the band sets where a phase gets soft.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        mask: None, a mask, or its config ``dict(type=...)``.
        weighted: by the square of the teacher's amplitude; off, every frequency counts alike.
        normalize: standardise every channel of the teacher within the band first; off by default.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        mask: Mask | MaskConfig | None = None,
        weighted: bool = True,
        normalize: bool = False,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, mask=mask, normalize=normalize, resize_stu=resize_stu)
        self.weighted = check_switch(weighted, "weighted")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``phase_l2``."""
        options = {"weighted": self.weighted, "normalize": self.normalize}
        return phase_l2(student, teacher, mask=self.mask, **options)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, weighted={self.weighted}"


def _in_band(student: Tensor, teacher: Tensor, mask: Mask | None, rule: Rule) -> Tensor:
    mask = AllPass() if mask is None else mask
    weights = mask_weights(mask, *student.shape[2:], device=student.device, dtype=student.dtype)
    return band_distances(student, teacher, weights[None], rule)[0]


def _amplitude_error(
    student: Tensor, teacher: Tensor, weights: Tensor, *, normalize: bool
) -> tuple[Tensor, Tensor]:
    """The rule of ``amplitude_l2``: see ``band_distances``."""
    band = weights[0, :, ::2].contiguous()  # (H, K)
    if normalize:
        student, teacher = centred(student), centred(teacher)
    spectrum = half_spectrum(student)
    ours, theirs = _power(spectrum).sqrt_(), _power(half_spectrum(teacher)).sqrt_()
    inverse, _ = inverse_amplitude(ours, student)
    if not normalize:
        error = ours - theirs
        distance = energy(error, error, band)
        return _parts(spectrum * inverse.mul_(error)), distance[..., None]
    deviation = inverse_deviation(energy(ours, ours, band), student)
    ours.mul_(deviation)
    error = ours - theirs.mul_(inverse_deviation(energy(theirs, theirs, band), teacher))
    distance = energy(error, error, band)
    # the derivative of the student's scale takes off what lies along its map
    along = energy(error, ours, band).sum(0)[:, None, None] / _count(student)
    error.addcmul_(ours, along, value=-1).mul_(deviation)
    return _centred_parts(spectrum * inverse.mul_(error)), distance[..., None]


def _phase_error(
    student: Tensor, teacher: Tensor, weights: Tensor, *, weighted: bool, normalize: bool
) -> tuple[Tensor, Tensor]:
    """The rule of ``phase_l2``: see ``band_distances``."""
    band = weights[0, :, ::2].contiguous()  # (H, K)
    if normalize:
        student, teacher = centred(student), centred(teacher)
    spectrum, target = half_spectrum(student), half_spectrum(teacher)
    inverse = _inverse_length(spectrum, band, student)
    if weighted:
        amplitude = _power(target).sqrt_()
        if normalize:
            deviation = inverse_deviation(energy(amplitude, amplitude, band), teacher)
            target, amplitude = target * deviation, amplitude.mul_(deviation)
        scale = amplitude.mul_(inverse)
    else:
        target = target * _inverse_length(target, band, teacher)
        scale = inverse
    error = torch.sub(spectrum * scale, target, out=target)
    error_parts = _parts(error)
    distance = energy(error_parts, error_parts, weights[0])
    # u = Z / l, l^2 = |Z|^2 + tau^2 v + eps: du = dZ / l - Z (Re(Z* dZ) + tau^2 dv / 2) / l^3
    along = (spectrum.conj() * error).real * scale * inverse.square()
    spread = _sum(along, band) * (SOFTNESS**2 / _count(student))
    direction = error * scale - spectrum * along.add_(spread[:, None, None])
    return (_centred_parts if normalize else _parts)(direction), distance[..., None]


def _inverse_length(spectrum: Tensor, band: Tensor, x: Tensor) -> Tensor:
    """1 / sqrt(|Z|^2 + tau^2 v + eps) of the spectrum Z of a map x: (N, C, H, K)."""
    power = _power(spectrum)
    variance = _sum(power, band) / _count(x)
    return power.add_((SOFTNESS**2 * variance + BN_EPS)[:, None, None]).rsqrt_()


def _power(spectrum: Tensor) -> Tensor:
    """|F|^2 in memory of its own; by the parts, as abs of complex takes thrice as long."""
    squares = torch.view_as_real(spectrum).square()
    return squares[..., 0] + squares[..., 1]


def _sum(x: Tensor, band: Tensor) -> Tensor:
    """Sum of band * x over images and frequencies: (N, C, H, K) -> (C,)."""
    return (x.flatten(2) @ band.flatten()).sum(0)


def _count(x: Tensor) -> int:
    """Values of a channel."""
    return x.numel() // x.shape[1]


def _parts(spectrum: Tensor) -> Tensor:
    """(N, C, H, K), complex -> (N, C, H, 2K)."""
    return torch.view_as_real(spectrum).flatten(-2)


def _centred_parts(direction: Tensor) -> Tensor:
    """The same, and without what the mean of a channel takes off a gradient."""
    direction[..., 0, 0] -= direction[..., 0, 0].mean(0)
    return _parts(direction)
