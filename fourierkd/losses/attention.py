"""Attention transfer: where a map is strong, not what it says there; in flow maps, out a scalar."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from fourierkd.losses.base import MapLoss

EPS = 1e-12  # squared units of the features: the least norm of an attention map


def attention_l2(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference of two attention maps, each of length 1 over space.

    .. math::

        L = \operatorname{mean}_{n,y,x} (q_S - q_T)^2, \qquad
        q = Q / \max(\lVert Q \rVert_{y,x}, \epsilon), \quad Q = \textstyle\sum_c f_c^2

    Channels are summed over, so their numbers may differ. eps, 1e-12, stands at the norm and not at
    Q: down to there the loss does not depend on the scale of a map, and below, where Q / eps is
    linear in Q, the gradient 2 f / eps of a map goes to 0 with it, so zeros are no exception.

    The published loss is beta / 2 times the distance of the two, with beta = 10^3 / (N H W): read
    as the squared distance, as its code has it, this is a weight of 500.

    Args:
        student: (N, C, H, W), real.
        teacher: (N, C', H, W), of the same dtype; gets no gradient.

    Returns:
        Scalar, dimensionless, in [0, 2 / (H W)], as no entry of q is negative.

    References:
        Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017, eq. 2 with the map
        F_sum^p of section 3.1 at p = 2.

    >>> import torch
    >>> left, right = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    >>> attention_l2(left, right).item()  # (1, 0) against (0, 1)
    1.0
    >>> attention_l2(left, 7 * left.expand(1, 5, 1, 2)).item()
    0.0
    """
    return F.mse_loss(_attention(student), _attention(teacher.detach()))


class AttentionTransfer(MapLoss):
    """``attention_l2`` of two maps of any widths, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    any_width = True

    def __init__(self, loss_weight: float = 1.0, *, resize_stu: bool = True) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``attention_l2``."""
        return attention_l2(student, teacher)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}"


def _attention(x: Tensor) -> Tensor:
    """q, (N, H W)."""
    return F.normalize(x.square().sum(1).flatten(1), eps=EPS)
