"""Channel-wise distillation: in flow two maps, whose channels are distributions, out a scalar."""

from __future__ import annotations

from torch import Tensor

from fourierkd.losses.base import LOGITS, MapLoss
from fourierkd.losses.kl import check_temperature, softened_kl


def channelwise_kl(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    r"""Divergence of every channel's distribution over space.

    .. math::

        L = \operatorname{mean}_n \frac{T^2}{C} \sum_{c,i}
            p^T_{nci} \log \frac{p^T_{nci}}{p^S_{nci}}, \qquad
        p_{nci} = \frac{\exp(f_{nci} / T)}{\sum_j \exp(f_{ncj} / T)}

    over the H W pixels i. The teacher's strongest pixels weigh most; what a channel has everywhere,
    its mean, does not count. So it looks at where a channel is strong, as attention does, but
    channel by channel, and its scale counts.

    Args:
        student: f_S, (N, C, H, W), real.
        teacher: f_T, same shape and dtype; gets no gradient.
        temperature: T > 0, in units of the features; a large one lets more pixels count.

    Returns:
        Scalar (nats times T^2), >= 0 up to rounding.

    References:
        Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", ICCV
        2021 (arXiv 2011.13256), section 3.

    >>> import torch
    >>> f = torch.tensor([[[[0.0, 3.0]]]]).log1p()  # softmax (1/5, 4/5)
    >>> f"{channelwise_kl(f, torch.zeros(1, 1, 1, 2), temperature=1.0):.6f}"  # log(5/4)
    '0.223144'
    """
    return softened_kl(student.flatten(2), teacher.flatten(2), dim=2, temperature=temperature)


class CWDLoss(MapLoss):
    """``channelwise_kl`` of two feature maps, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        temperature: T > 0.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a map breaks a rule.
    """

    def __init__(
        self, loss_weight: float = 1.0, *, temperature: float = 4.0, resize_stu: bool = True
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.temperature = check_temperature(temperature)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``channelwise_kl``."""
        return channelwise_kl(student, teacher, temperature=self.temperature)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, temperature={self.temperature:g}"


class CWDLogits(CWDLoss):
    """``CWDLoss`` of the class scores of every pixel: a distribution over space for each class."""

    compares = LOGITS
