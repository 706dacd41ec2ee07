"""DIST, relations between class probabilities: in flow two maps of logits, out flows a scalar."""

from __future__ import annotations

from torch import Tensor

from fourierkd.errors import ConfigError
from fourierkd.losses.base import LOGITS, MapLoss, check_weight
from fourierkd.losses.kl import check_temperature

EPS = 1e-12  # variance of probabilities: above their rounding near 1, (6e-8)^2, below what is said


def class_relations(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 1.0,
    inter: float = 1.0,
    intra: float = 1.0,
) -> Tensor:
    r"""How far the student's class probabilities are from a linear function of the teacher's.

    .. math::

        L = \beta \operatorname{mean}_{n,y,x} \big(1 - \rho_c(p_S, p_T)\big)
          + \gamma \operatorname{mean}_c \big(1 - \rho_{n,y,x}(p_S, p_T)\big), \qquad
        p = \operatorname{softmax}_c(z / T)

    with rho the Pearson correlation: over the classes of a pixel (inter-class), and over the pixels
    of a class (intra-class), those of all images of the batch, labelled or not:

    .. math::

        \rho(a, b) = \frac{\operatorname{mean}(\tilde a \tilde b)}
            {\sqrt{(\operatorname{var} a + \epsilon) (\operatorname{var} b + \epsilon)}}, \qquad
        \tilde a = a - \operatorname{mean} a

    eps, 1e-12, stands at each variance: probabilities that do not vary, as those of a student of
    zeros or of a class that is nowhere, are correlated with nothing, and their gradient is finite.

    There is no factor T^2 as in ``softened_kl``: a correlation does not shrink with the scale of
    its arguments.

    Args:
        student: z_S, (N, C, H, W), real.
        teacher: z_T, same shape and dtype; gets no gradient.
        temperature: T > 0.
        inter: beta, >= 0.
        intra: gamma, >= 0.

    Returns:
        Scalar, dimensionless, in [0, 2 (beta + gamma)]; of this process's batch.

    References:
        Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022
        (arXiv 2205.10536), the inter-class and the intra-class loss.

    >>> import torch
    >>> z = torch.tensor([0.6, 0.3, 0.1]).log().view(1, 3, 1, 1)
    >>> t = torch.tensor([0.2, 0.5, 0.3]).log().view(1, 3, 1, 1)
    >>> f"{class_relations(z, t, intra=0.0).item():.4f}"  # 1 + (1 / 30) / sqrt(19 / 150 * 7 / 150)
    '1.4336'
    """
    ours, theirs = (x.div(temperature).softmax(1) for x in (student, teacher.detach()))
    between = 1 - _correlation(ours, theirs, (1,)).mean()
    within = 1 - _correlation(ours, theirs, (0, 2, 3)).mean()
    return inter * between + intra * within


class DISTLoss(MapLoss):
    """``class_relations`` of the class scores of every pixel, without parameters.

    Args:
        loss_weight: factor of the loss, finite, >= 0.
        temperature: T > 0.
        inter: factor beta of the part over classes, finite, >= 0.
        intra: factor gamma of the part over pixels, finite, >= 0; not both are 0.
        resize_stu: where sizes differ, resize the student's scores (bilinear), else the teacher's.

    Raises:
        ConfigError: an argument or a map breaks a rule.
    """

    compares = LOGITS

    def __init__(
        self,
        loss_weight: float = 1.0,
        *,
        temperature: float = 1.0,
        inter: float = 1.0,
        intra: float = 1.0,
        resize_stu: bool = True,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        self.temperature = check_temperature(temperature)
        self.inter = check_weight(inter, "inter")
        self.intra = check_weight(intra, "intra")
        if not (self.inter or self.intra):
            raise ConfigError("inter or intra must be above 0", value=(inter, intra))

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See ``class_relations``."""
        return class_relations(
            student,
            teacher,
            temperature=self.temperature,
            inter=self.inter,
            intra=self.intra,
        )

    def extra_repr(self) -> str:
        return (
            f"loss_weight={self.loss_weight:g}, temperature={self.temperature:g}, "
            f"inter={self.inter:g}, intra={self.intra:g}"
        )


def _correlation(a: Tensor, b: Tensor, dims: tuple[int, ...]) -> Tensor:
    """rho over ``dims``: (N, C, H, W) twice -> what is left of them, in [-1, 1]."""
    a, b = (x - x.mean(dims, keepdim=True) for x in (a, b))
    variances = (a.square().mean(dims) + EPS) * (b.square().mean(dims) + EPS)
    return (a * b).mean(dims) * variances.rsqrt()
