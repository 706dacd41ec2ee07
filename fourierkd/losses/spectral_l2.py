"""Feature imitation within a frequency band: in flow maps, out flows a scalar."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fourierkd.losses.pairs import Maps, check_switch, check_weight, full_precision, pair_levels
from fourierkd.spectral.half import half_spectrum, hermitian_weights
from fourierkd.spectral.masks import AllPass, Mask, MaskConfig, build_mask, mask_weights

EPS = 1e-5  # of the variance, as in feature_l2


def spectral_l2(
    student: Tensor, teacher: Tensor, *, mask: Mask | None = None, normalize: bool = False
) -> Tensor:
    r"""Mean squared difference of two feature maps, weighted per frequency.

    .. math:: L = \operatorname{mean}_{n,c,k} m_k \, |F_S - F_T|^2_{nck}, \quad F = \mathrm{FFT2}(f)

    over all H W frequencies of the orthonormal transform; by Parseval it is ``feature_l2`` where
    every m is 1.

    Args:
        student: (N, C, H, W), real, float32 or float64.
        teacher: same shape; gets no gradient.
        mask: m, brought to mean 1 (``mask_weights``); None for 1 everywhere.
        normalize: first bring every channel of both to mean 0 and variance 1 over (N, H, W) (eps
            1e-5) *as the mask lets it pass*: statistics of the whole map would let what the mask
            leaves out decide the scale of what it lets pass. Without a mask this is PKD (Cao et
            al., "PKD", NeurIPS 2022, eq. 4).

    Returns:
        Scalar, in squared units of the features (dimensionless when normalised).

    >>> import torch
    >>> spectral_l2(torch.full((1, 1, 2, 2), 3.0), torch.ones(1, 1, 2, 2)).item()
    4.0
    """
    height, width = student.shape[2:]
    weights = hermitian_weights(width, device=student.device, dtype=student.dtype)
    if mask is not None and not isinstance(mask, AllPass):
        weights = weights * mask_weights(
            mask, height, width, device=student.device, dtype=student.dtype
        )
    teacher = teacher.detach()
    if not normalize:
        return _power(half_spectrum(student - teacher), weights).mean() / (height * width)
    count = student.shape[0] * height * width
    ours, theirs = (_standardise(half_spectrum(x), weights, count) for x in (student, teacher))
    return _power(ours - theirs, weights).mean() / (height * width)


class SpectralL2(nn.Module):
    """``spectral_l2`` summed over levels; called as ``FourierLoss`` is, without parameters.

    Args:
        loss_weight: factor of the sum, finite, >= 0.
        mask: None, a mask, or its config ``dict(type=...)``, in fractions of Nyquist.
        normalize: see ``spectral_l2``; off by default.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.
        in_channels: not used; taken so that every loss can be built alike.

    Raises:
        ConfigError: an argument or a feature map breaks a rule, or the mask lets no frequency of a
            map pass.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        mask: Mask | MaskConfig | None = None,
        normalize: bool = False,
        resize_stu: bool = True,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.loss_weight = check_weight(loss_weight)
        self.mask = build_mask(mask)
        self.normalize = check_switch(normalize, "normalize")
        self.resize_stu = check_switch(resize_stu, "resize_stu")

    def forward(self, student: Maps, teacher: Maps) -> Tensor:
        """Weighted loss of maps (N, C, H, W), or of equally long sequences of maps: a scalar."""
        pairs = pair_levels(student, teacher, resize_stu=self.resize_stu)
        with full_precision(pairs[0][0]):
            levels = [spectral_l2(s, t, mask=self.mask, normalize=self.normalize) for s, t in pairs]
        return sum(levels[1:], levels[0]) * self.loss_weight

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, mask={self.mask}, normalize={self.normalize}"


def _power(spectrum: Tensor, weights: Tensor) -> Tensor:
    """Weighted power over the full spectrum, (N, C, H, W//2 + 1) -> (N, C)."""
    parts = torch.view_as_real(spectrum).square().sum(-1)
    return (parts * weights).sum((2, 3))


def _standardise(spectrum: Tensor, weights: Tensor, count: int) -> Tensor:
    """Mean 0 and variance 1 of each channel over its ``count`` values, as the weights pass it."""
    mean = spectrum[:, :, :1, :1].mean(0, keepdim=True)  # the DC bin is the sum over space
    pad = (0, spectrum.shape[3] - 1, 0, spectrum.shape[2] - 1)
    centred = spectrum - nn.functional.pad(mean, pad)
    variance = _power(centred, weights).sum(0) / count
    return centred * (variance + EPS).rsqrt()[:, None, None]
