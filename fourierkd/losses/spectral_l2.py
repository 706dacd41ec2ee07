"""Feature imitation within a frequency band: in flow two maps, out flows a scalar.

One transform per map (of the difference where nothing is normalised), and one inverse transform in
the backward pass: see ``spectral.band_distance``.
"""

from __future__ import annotations

from torch import Tensor

from fourierkd.losses.spatial import FeatureL2, feature_l2
from fourierkd.spectral.band_distance import (
    band_distances,
    centred,
    difference,
    energy,
    inverse_deviation,
    parts,
)
from fourierkd.spectral.masks import AllPass, Mask, MaskConfig, build_mask, mask_weights


def spectral_l2(
    student: Tensor, teacher: Tensor, *, mask: Mask | None = None, normalize: bool = False
) -> Tensor:
    r"""Mean squared difference of two maps within a frequency band.

    .. math::

        L = \operatorname{mean}_{n,c,\kappa} m_\kappa |Z_S - Z_T|^2
          = \operatorname{mean}_{n,c,y,x} (b_S - b_T)^2, \qquad
        b = F^{-1}(\sqrt{m} Z), \quad F = \mathrm{FFT2}(\cdot, \mathrm{ortho})

    with m the mask's weights (mean 1 over the full spectrum) and Z = F(f). With ``normalize``,
    every channel of the band-passed map b has mean 0 and variance 1 over (N, H, W):

    .. math::

        Z_{nc} = F(f_{nc} - \mu_c) / \sqrt{v_c + \epsilon}, \qquad
        v_c = \operatorname{mean}_{n,\kappa} m_\kappa |F(f_{nc} - \mu_c)|^2

    with \mu_c the mean of f over (N, H, W) and eps 1e-5. Mean and variance are those *within the
    band*: the whole map's would let what the mask leaves out set the scale of what it lets pass.

    Without a mask it is ``feature_l2`` (Parseval), with ``normalize`` that of PKD.

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
        Distance of normalised maps: Cao et al., "PKD", NeurIPS 2022, eq. 4. Imitation of low bands
        alone: FreqKD (arXiv 2606.11572). Spectral distance and mask together are ours.

    >>> import torch
    >>> from fourierkd.spectral.masks import LowPass
    >>> stripes = torch.tensor([1.0, 3.0, 1.0, 3.0]).expand(1, 1, 4, 4)  # mean 2, Nyquist 1
    >>> zero = torch.zeros(1, 1, 4, 4)
    >>> spectral_l2(stripes, zero).item()
    5.0
    >>> spectral_l2(stripes, zero, mask=LowPass(0.4)).item()  # DC alone, with a weight of 16
    64.0
    """
    if mask is None or isinstance(mask, AllPass):
        return feature_l2(student, teacher, normalize=normalize)
    weights = mask_weights(mask, *student.shape[2:], device=student.device, dtype=student.dtype)
    rule = _normalised_error if normalize else difference
    return band_distances(student, teacher, weights[None], rule)[0]


class SpectralL2(FeatureL2):
    """``spectral_l2`` of two maps, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0. An error that is white over frequency has the
            same loss with every mask, that of ``FeatureL2`` with this weight.
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
        super().__init__(loss_weight, resize_stu=resize_stu, normalize=normalize)
        self.mask = build_mask(mask)
        self.linear_in_mask = not self.normalize  # else the band sets the scale

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``spectral_l2``."""
        return spectral_l2(student, teacher, mask=self.mask, normalize=self.normalize)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mask={self.mask}"


def _normalised_error(student: Tensor, teacher: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """``difference`` of normalised maps, but what is left of the error along the student's map.

    That is what the derivative of the student's scale takes off.
    """
    (band,) = weights
    (ours, deviation), (theirs, _) = (_band_normalised(x, band) for x in (student, teacher))
    error = theirs.neg_().add_(ours)
    distance = energy(error, error, band)
    count = student.numel() // student.shape[1]
    along = energy(error, ours, band).sum(0)[:, None, None] / count  # (C, 1, 1)
    return error.addcmul_(ours, along, value=-1).mul_(deviation), distance[..., None]


def _band_normalised(x: Tensor, band: Tensor) -> tuple[Tensor, Tensor]:
    """Spectrum of a map whose channels have mean 0 and variance 1 in the band, and 1 / deviation.

    (N, C, H, W) -> (N, C, H, 2K) and (C, 1, 1).
    """
    spectrum = parts(centred(x))
    deviation = inverse_deviation(energy(spectrum, spectrum, band), x)
    return spectrum.mul_(deviation), deviation
