"""Plain feature imitation, what a frequency loss has to beat: in flow maps, out flows a scalar."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fourierkd.losses.pairs import Maps, check_switch, check_weight, full_precision, pair_levels


def feature_l2(student: Tensor, teacher: Tensor, *, normalize: bool = False) -> Tensor:
    r"""Mean squared difference of two feature maps.

    .. math:: L = \operatorname{mean}_{n,c,y,x} (f_S - f_T)^2

    Args:
        student: (N, C, H, W), real.
        teacher: same shape; gets no gradient.
        normalize: first bring every channel of both to mean 0 and variance 1 over (N, H, W) (eps
            1e-5), so that only the pattern counts, not the scale (Cao et al., "PKD", NeurIPS 2022,
            eq. 4).

    Returns:
        Scalar, in squared units of the features (dimensionless when normalised).

    >>> import torch
    >>> feature_l2(torch.full((1, 1, 2, 2), 3.0), torch.ones(1, 1, 2, 2)).item()
    4.0
    """
    teacher = teacher.detach()
    if normalize:
        student, teacher = _standardise(student), _standardise(teacher)
    return F.mse_loss(student, teacher)


class FeatureL2(nn.Module):
    """``feature_l2`` summed over levels; called as ``FourierLoss`` is, without parameters.

    Args:
        loss_weight: factor of the sum, finite, >= 0.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.
        normalize: see ``feature_l2``; off by default.
        in_channels: not used; taken so that every loss can be built alike.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        resize_stu: bool = True,
        normalize: bool = False,
        in_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.loss_weight = check_weight(loss_weight)
        self.resize_stu = check_switch(resize_stu, "resize_stu")
        self.normalize = check_switch(normalize, "normalize")

    def forward(self, student: Maps, teacher: Maps) -> Tensor:
        """Weighted loss of maps (N, C, H, W), or of equally long sequences of maps: a scalar."""
        pairs = pair_levels(student, teacher, resize_stu=self.resize_stu)
        with full_precision(pairs[0][0]):
            levels = [self.distance(s, t) for s, t in pairs]
        return sum(levels[1:], levels[0]) * self.loss_weight

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """What one level adds to the sum: maps (N, C, H, W) of one size -> scalar."""
        return feature_l2(student, teacher, normalize=self.normalize)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, normalize={self.normalize}"


def _standardise(x: Tensor) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt()
