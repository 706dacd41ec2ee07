"""Plain feature imitation, what a frequency loss has to beat: in flow maps, out flows a scalar."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fourierkd.losses.base import MapLoss, check_switch


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


class FeatureL2(MapLoss):
    """``feature_l2`` of two maps, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.
        normalize: see ``feature_l2``; off by default.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    def __init__(
        self, loss_weight: float = 1.0, *, resize_stu: bool = True, normalize: bool = False
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.normalize = check_switch(normalize, "normalize")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``feature_l2``."""
        return feature_l2(student, teacher, normalize=self.normalize)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, normalize={self.normalize}"


def _standardise(x: Tensor) -> Tensor:
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt()
