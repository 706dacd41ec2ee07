"""Strict on low frequencies, relaxed on high ones: in flow two maps, out flows a scalar."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from fourierkd.losses.base import MapLoss, check_switch, check_weight
from fourierkd.spectral.band_distance import (
    band_distances,
    centred,
    difference,
    energies,
    inverse_deviation,
    parts,
)
from fourierkd.spectral.masks import LowPass, mask_weights


def frequency_decoupled_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    cutoff: float = 0.5,
    high_weight: float = 0.1,
    normalize: bool = False,
) -> Tensor:
    r"""Mean squared difference of low frequencies, and the logarithm of that of high ones.

    .. math::

        L = E_{low} + \lambda \log(1 + E_{high}), \qquad
        E_b = \operatorname{mean}_{n,c,y,x} (b_S - b_T)^2
            = \operatorname{mean}_{n,c,\kappa} m_{b,\kappa} |Z_S - Z_T|^2

    with b_S and b_T the maps' parts below and from the radius ``cutoff`` on (m_low is 1 below and 0
    from there on, m_high = 1 - m_low, Z the orthonormal spectrum), so E_low + E_high is
    ``feature_l2``. The derivative of the second term is that of lambda E_high over 1 + E_high: an
    error far above 1 hardly pulls at all, a small one is a squared error of weight lambda. What is
    far above 1 depends on the scale of the features. With ``normalize``, every channel of each band
    has mean 0 and variance 1 (over (N, H, W), eps 1e-5) in both maps, so neither band sets the
    other's scale and each E is in [0, 4].

    Args:
        student: (N, C, H, W), real float32 or float64.
        teacher: same shape and dtype; gets no gradient.
        cutoff: radius where the high frequencies begin, in (0, 1] of Nyquist; 1: nowhere.
        high_weight: lambda, finite, >= 0.
        normalize: see above.

    Returns:
        Scalar, in squared units of the features (dimensionless when normalised). Differentiable
        once.

    Raises:
        ConfigError: the cutoff is out of its range.

    References:
        "FreqKD: Frequency-Decoupled Cross-Modal Knowledge Distillation for Infrared Object
        Detection", arXiv 2606.11572: its abstract says "strict" mean squared error on the low band
        and a "relaxed log-MSE" with the weight 0.1 on the high one, and no more of it was at hand.
        Ours: log(1 + E) as the form of log-MSE, with one E for all images and channels; the radial
        cutoff and its place; ``normalize``.

    >>> stripes = torch.tensor([1.0, 3.0, 1.0, 3.0]).expand(1, 1, 4, 4)  # mean 2, Nyquist 1
    >>> frequency_decoupled_loss(stripes, torch.zeros(1, 1, 4, 4))  # 2^2 + 0.1 log(1 + 1^2)
    tensor(4.0693)
    """
    size = (student.shape[2], student.shape[3])
    bands = _bands(LowPass(cutoff), size, student.device, student.dtype)
    rule = _normalised_error if normalize else difference
    strict, relaxed = band_distances(student, teacher, bands, rule)
    loss: Tensor = strict + high_weight * torch.log1p(relaxed)
    return loss


class FrequencyDecoupledLoss(MapLoss):
    """``frequency_decoupled_loss`` of two maps, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        cutoff: radius where the high frequencies begin, in (0, 1] of Nyquist.
        high_weight: weight of the high frequencies' term, finite, >= 0.
        normalize: standardise every channel of each band first; off by default.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        cutoff: float = 0.5,
        high_weight: float = 0.1,
        normalize: bool = False,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.cutoff = LowPass(cutoff).cutoff
        self.high_weight = check_weight(high_weight, "high_weight")
        self.normalize = check_switch(normalize, "normalize")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``frequency_decoupled_loss``."""
        return frequency_decoupled_loss(
            student,
            teacher,
            cutoff=self.cutoff,
            high_weight=self.high_weight,
            normalize=self.normalize,
        )

    def extra_repr(self) -> str:
        return (
            f"loss_weight={self.loss_weight:g}, cutoff={self.cutoff:g}, "
            f"high_weight={self.high_weight:g}, normalize={self.normalize}"
        )


@functools.lru_cache(maxsize=128)
def _bands(
    low_pass: LowPass, size: tuple[int, int], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """1 at the frequencies below the cutoff, and 1 from there on: (2, H, W//2 + 1)."""
    with torch.inference_mode(False), torch.no_grad():
        low = (mask_weights(low_pass, *size, device=device) > 0).to(dtype)
        return torch.stack((low, 1 - low))


def _normalised_error(student: Tensor, teacher: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """``difference`` of bands with mean 0 and variance 1, but what is left along the student's.

    That is what the derivative of the student's scales takes off.
    """
    (ours, deviation), (theirs, _) = (_normalised(x, weights) for x in (student, teacher))
    error = theirs.neg_().add_(ours)
    distances = energies(error, error, weights)
    along = energies(error, ours, weights).sum(0) / (student.numel() // student.shape[1])
    return error.sub_(ours.mul_(_spread(along, weights))).mul_(deviation), distances


def _normalised(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Spectrum of a map whose channels have mean 0 and variance 1 in each band: (N, C, H, 2K).

    And 1 / deviation at every frequency, (C, H, 2K).
    """
    spectrum = parts(centred(x))
    variances = energies(spectrum, spectrum, weights)
    inverse = [inverse_deviation(variance, x)[:, 0, 0] for variance in variances.unbind(-1)]
    deviation = _spread(torch.stack(inverse, -1), weights)
    return spectrum.mul_(deviation), deviation


def _spread(values: Tensor, weights: Tensor) -> Tensor:
    """A number a channel and band, (C, B), at the band's frequencies: (C, H, 2K)."""
    return torch.einsum("cb,bhk->chk", values, (weights > 0).to(values.dtype))
