"""Where the sides of a box lie, as distributions: in flow two heads' logits, out flows a scalar."""

from __future__ import annotations

import torch
from torch import Tensor

from fourierkd.losses.kl import check_temperature
from fourierkd.losses.samples import DistributionSamples, HeadLoss


def localization_distillation(
    logits: Tensor, teacher_logits: Tensor, weights: Tensor, *, temperature: float = 10.0
) -> Tensor:
    r"""Weighted sum over boxes of the divergence of their sides' softened distributions.

    .. math::

        L = \sum_i w_i \frac{1}{4} \sum_s \frac{T^2}{n + 1}
            \sum_k p^T_{isk} \log \frac{p^T_{isk}}{p^S_{isk}}, \qquad
        p = \operatorname{softmax}_k(z / T)

    over the n + 1 distances k of each side s. Dividing by n + 1, which a divergence does not, and
    not by the sum of the weights, is how the public code and MMDetection have it: the published
    weight belongs to that.

    Args:
        logits: z_S, (P, 4, n + 1), real.
        teacher_logits: z_T, same shape and dtype; gets no gradient.
        weights: w, (P,); get no gradient.
        temperature: T > 0.

    Returns:
        Scalar (nats times T^2), >= 0 up to rounding.

    References:
        Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng, "Localization Distillation for Dense Object
        Detection", CVPR 2022 (arXiv 2102.12252), the loss on the main region, that of the positive
        samples; not its "valuable localization region" around them.

    >>> import torch
    >>> z = torch.zeros(1, 4, 2)
    >>> z[0, 0, 1] = torch.tensor(3.0).log()  # one side: student (1/4, 3/4), teacher (1/2, 1/2)
    >>> loss = localization_distillation(z, torch.zeros(1, 4, 2), torch.ones(1), temperature=1.0)
    >>> f"{loss.item():.6f}"  # log(4/3) / 2, a half of it, a quarter of that
    '0.017980'
    """
    ours, theirs = (x.div(temperature).log_softmax(2) for x in (logits, teacher_logits.detach()))
    divergence = (theirs.exp() * (theirs - ours)).mean((1, 2))  # (P,)
    return torch.dot(divergence, weights.detach()) * temperature**2


class LDLoss(HeadLoss[DistributionSamples]):
    """``localization_distillation`` of two GFL heads, without parameters.

    The weights are the student's largest class score at a sample, as in its own loss of
    distributions; as published the sum over the samples of a batch is divided by nothing.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        temperature: T > 0.

    Raises:
        ConfigError: an argument breaks a rule.
    """

    samples = DistributionSamples

    def __init__(self, loss_weight: float = 0.25, *, temperature: float = 10.0) -> None:
        super().__init__(loss_weight)
        self.temperature = check_temperature(temperature)

    def level(self, level: DistributionSamples) -> Tensor:
        """See ``localization_distillation``."""
        return localization_distillation(*level, temperature=self.temperature)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, temperature={self.temperature:g}"
