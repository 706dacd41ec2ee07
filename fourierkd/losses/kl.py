"""Softened class scores, pixel by pixel: in flow two maps of logits, out flows a scalar."""

from __future__ import annotations

import torch
from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.losses.base import LOGITS, MapLoss, check_weight


def softened_kl(student: Tensor, teacher: Tensor, *, dim: int, temperature: float) -> Tensor:
    r"""Divergence of softened distributions along one dimension, the mean over the others.

    .. math::

        L = T^2 \operatorname{mean} \sum_i p^T_i \log \frac{p^T_i}{p^S_i}, \qquad
        p = \operatorname{softmax}(z / T)

    With T^2 the gradient's size hardly depends on T. From logarithms of softmax, so that scores far
    apart stay finite; the sum is a dot product, which writes one map less.

    Args:
        student: z_S, of any shape, real.
        teacher: z_T, same shape and dtype; gets no gradient.
        dim: that a distribution goes along.
        temperature: T > 0.

    Returns:
        Scalar (nats times T^2), >= 0 up to rounding.

    References:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv
        1503.02531), section 2: softmax in eq. 1, T^2 in the text.

    >>> import torch
    >>> z = torch.tensor([[0.0, 3.0]]).log1p()  # softmax (1/5, 4/5)
    >>> f"{softened_kl(z, torch.zeros(1, 2), dim=1, temperature=1.0):.6f}"  # log(5/4)
    '0.223144'
    """
    ours, theirs = (x.div(temperature).log_softmax(dim) for x in (student, teacher.detach()))
    total = torch.dot(theirs.exp().flatten(), (theirs - ours).flatten())
    return total * (temperature**2 * student.shape[dim] / student.numel())


class LogitsKL(MapLoss):
    """``softened_kl`` of the class scores of every pixel, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        temperature: T > 0.
        resize_stu: where sizes differ, resize the student's scores (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a map breaks a rule.

    References:
        ``softened_kl``; the mean over pixels as in Liu, Chen, Liu, Qin, Luo, Wang, "Structured
        Knowledge Distillation for Semantic Segmentation", CVPR 2019, pixel-wise distillation.
    """

    compares = LOGITS

    def __init__(
        self, loss_weight: float = 1.0, *, temperature: float = 1.0, resize_stu: bool = True
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.temperature = check_temperature(temperature)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``softened_kl``: maps (N, classes, H, W) of logits."""
        return softened_kl(student, teacher, dim=1, temperature=self.temperature)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight:g}, temperature={self.temperature:g}"


def check_temperature(value: float) -> float:
    """A temperature: a finite number above 0, else ConfigError."""
    if check_weight(value, "temperature") == 0:
        raise ConfigError("temperature must be above 0", value=value)
    return float(value)
