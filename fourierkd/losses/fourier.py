"""The Fourier loss: in flow feature maps of student and teacher, out flows one scalar.

``fourier_loss`` is the maths for one pair of maps; ``FourierLoss`` stores the numbers and
parameters, matches sizes, and calls it. The spectral part lies in
``fourierkd.spectral.distance``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fourierkd.errors import ConfigError, near
from fourierkd.losses.base import (
    MapLoss,
    check_channels,
    check_switch,
    check_weight,
    check_width,
    full_precision,
    match_maps,
)
from fourierkd.spectral.distance import spectral_distance
from fourierkd.spectral.half import half_noise
from fourierkd.spectral.masks import AllPass, Mask, MaskConfig, build_mask, mask_weights

COMPAT = ("fixed", "paper_code")
Conv1x1 = tuple[Tensor, Tensor]  # weight (C, C), bias (C,)


class Fusion(NamedTuple):
    """Parameters of the amplitude fusion: a 1x1 convolution per side, and a logit per channel."""

    student_conv: Conv1x1
    teacher_conv: Conv1x1
    mix_logit: Tensor  # (C,)


def fourier_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    predictor: Conv1x1 | None,
    fusion: Fusion | None,
    mask: Mask | None = None,
    sphere_radius: float | None = 1.0,
    noise: bool = True,
    similarity: bool = True,
    normalize: bool = True,
    compat: str = "fixed",
    detach_similarity: bool = False,
    sync_stats: bool = False,
    before: tuple[Tensor, Conv1x1] | None = None,
) -> Tensor:
    r"""Distance of the student's and the teacher's spectrum, after fusing their amplitudes.

    .. math::

        w_{nc} &= 1 - \cos(f_S[n,c], f_T[n,c]) && \text{similarity} \\
        f_S' &= \mathrm{Conv}_{pred}(f_S) && \text{predictor} \\
        A, P &= |F|, \arg F, \quad F = \mathrm{FFT2}(\cdot, \mathrm{ortho}) \\
        A_f &= a\,\mathrm{Conv}_s(A_S') + (1 - a)\,\mathrm{Conv}_t(A_T), \quad a = \sigma(\ell)
            && \text{fusion} \\
        X_S &= U A_f e^{i P_S'}, \qquad X_T = A_T e^{i P_T} && \text{noise} \\
        R(X) &= (2 r \Re X, 2 r \Im X, |X|^2 - r^2) / (|X|^2 + r^2) && \text{sphere\_radius} \\
        L &= \tfrac12 \sum_k \mathrm{mean}\big(w\, m\, (BN(R^k(X_S)) - BN(R^k(X_T)))^2\big)
            && \text{normalize}

    l is the fusion's ``mix_logit``, R the projection on the Riemann sphere (``riemann_sphere``), BN
    batch normalisation per channel over (N, H, W) of the whole, unmasked spectrum (eps 1e-5, no
    affine, no running state), m the mask. Each part can be left out by the argument named at the
    right: w = 1; f_S' = f_S; A_f = A_S'; U = 1; R(X) = (Re X, Im X); BN(R) = R. With all of them
    left out L is half of ``spectral_l2`` with this mask.

    Computed on the half spectrum. U is drawn there from torch's default generator of the device
    (fixed by the run's seed, saved with the random state of a checkpoint) and equal at k and -k, so
    that X_S stays the spectrum of a real map.

    Args:
        student: f_S, (N, C, H, W), real float32 or float64; N * H * W > 1 where normalised.
        teacher: f_T, same shape and dtype; gets no gradient.
        predictor: weight (C, C) and bias (C,) of Conv_pred; None for none.
        fusion: Conv_s, Conv_t and l; None for none.
        mask: weights on the squared error per frequency, mean 1; None passes all.
        sphere_radius: r > 0, in units of spectral amplitude; None for no sphere.
        noise: draw U uniform in [0, 1), else U = 1.
        similarity: weight channels of images by w.
        normalize: normalise every coordinate.
        compat: "fixed", or "paper_code": the published code shifts the spectrum by half of *every*
            axis, also of batch and channel, so that w, the convolutions and a act on the data of
            another image and channel; and it draws U over the full plane, (N, C, H, W), so that X_S
            is not the spectrum of a real map. With U the statistics and time are those of the full
            plane.
        detach_similarity: no gradient through w.
        sync_stats: BN's statistics over the batches of all ranks (``spectral_distance``), else over
            this process's own. Nothing else depends on the batch: w is per image.
        before: where f_S is itself a 1x1 convolution of a narrower map, that map (N, B, H, W) and
            the convolution, weight (C, B) and bias (C,). Two 1x1 convolutions in a row are one, so
            the value is the same up to rounding; with B < C it takes fewer operations. Of use to
            the predictor alone.

    Returns:
        Scalar, dimensionless where normalised or on the sphere, else in squared units of the
        features.

    Raises:
        ConfigError: N * H * W is 1, so that there is no variance to normalise by.

    References:
        Shi, Zheng, Yi, Weng, Luo, "Knowledge Distillation in Fourier Frequency Domain for Dense
        Prediction", IEEE Signal Processing Letters 2024, doi 10.1109/LSP.2024.3515795.

    >>> ramp = torch.arange(16.0).view(1, 1, 4, 4)
    >>> one = (torch.ones(1, 1), torch.zeros(1))
    >>> fusion = Fusion(one, one, mix_logit=torch.zeros(1))
    >>> f"{fourier_loss(ramp.mT, ramp, predictor=one, fusion=fusion, noise=False):.4f}"
    '0.0432'
    """
    n, c, height, width = student.shape
    if normalize and n * height * width < 2:
        raise ConfigError(
            "batch statistics need more than one value per channel",
            value=tuple(student.shape),
            fix="use a larger batch or image, or leave this level out",
        )
    published = compat == "paper_code"
    tokens = cosine_distance(student, teacher) if similarity else None  # (N, C)
    if tokens is not None:
        if detach_similarity:
            tokens = tokens.detach()
        if published:
            tokens = tokens.roll((-(n // 2), -(c // 2)), (0, 1))
    weights = None
    if mask is not None and not isinstance(mask, AllPass):
        weights = mask_weights(mask, height, width, device=student.device, dtype=student.dtype)
    return spectral_distance(
        _predict(student, predictor, before),
        teacher,
        fusion=None if fusion is None else _fusion_product(fusion, published=published),
        tokens=tokens,
        noise=_draw(student, published=published) if noise else None,
        mask=weights,
        radius=sphere_radius,
        normalize=normalize,
        sync_stats=sync_stats,
    )


def _predict(
    student: Tensor, predictor: Conv1x1 | None, before: tuple[Tensor, Conv1x1] | None
) -> Tensor:
    """f_S', (N, C, H, W)."""
    if predictor is None:
        return student
    weight, bias = predictor
    source = student
    if before is not None and _composing_pays(student, before[0]):
        source, (connector_weight, connector_bias) = before
        bias = torch.addmv(bias, weight, connector_bias)
        weight = weight @ connector_weight
    return torch.baddbmm(
        bias[:, None], weight.expand(len(source), -1, -1), source.flatten(2)
    ).view_as(student)


def _fusion_product(fusion: Fusion, *, published: bool) -> tuple[Tensor, Tensor]:
    """The fusion as one matrix product over the amplitudes of both sides: (C, 2C) and (C,)."""
    student_weight, student_bias = fusion.student_conv
    teacher_weight, teacher_bias = fusion.teacher_conv
    a = fusion.mix_logit.sigmoid()
    weight = torch.cat((a[:, None] * student_weight, (1 - a)[:, None] * teacher_weight), 1)
    bias = a * student_bias + (1 - a) * teacher_bias
    if published:
        # a rolled spectrum under fixed parameters is a fixed spectrum under parameters rolled back
        c = len(bias)
        weight = weight.view(c, 2, c).roll((-(c // 2), -(c // 2)), (0, 2)).view(c, 2 * c)
        bias = bias.roll(-(c // 2))
    return weight, bias


def _draw(student: Tensor, *, published: bool) -> Tensor:
    """U: on the half spectrum, or as published on the full plane of the shifted one, put back."""
    n, c, height, width = student.shape
    if published:
        drawn = torch.rand(student.shape, dtype=student.dtype, device=student.device)
        result: Tensor = torch.fft.ifftshift(drawn)
        return result
    return half_noise(student.new_empty(n, c, height, width // 2 + 1), width)


def _composing_pays(student: Tensor, source: Tensor) -> bool:
    """Whether C B (C + N H W) multiplications, of composing and applying, are below C C N H W."""
    n, c, height, width = student.shape
    narrow, pixels = source.shape[1], n * height * width
    return narrow * (c + pixels) < c * pixels


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cos over space, per image and channel: (N, C, H, W) twice -> (N, C), in [0, 2].

    A map of zeros has cosine 0 with anything, and gets no gradient from it.
    """
    s, t = student.flatten(2), teacher.flatten(2)
    norm = torch.linalg.vector_norm(s, dim=2) * torch.linalg.vector_norm(t, dim=2)
    zero = norm == 0
    cosine = torch.linalg.vecdot(s, t) / norm.masked_fill(zero, 1.0)
    result: Tensor = 1 - cosine.masked_fill(zero, 0.0)
    return result


class ATFM(nn.Module):
    """Parameters of the fusion: a 1x1 convolution per side, and a mixing logit per channel."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.student_conv = nn.Conv2d(in_channels, in_channels, 1)
        self.teacher_conv = nn.Conv2d(in_channels, in_channels, 1)
        self.mix_logit = nn.Parameter(torch.zeros(in_channels))

    def fusion(self, dtype: torch.dtype) -> Fusion:
        """The parameters as ``fourier_loss`` takes them."""
        convs = _conv1x1(self.student_conv, dtype), _conv1x1(self.teacher_conv, dtype)
        return Fusion(*convs, self.mix_logit.to(dtype))

    def mix(self) -> Tensor:
        """a = sigmoid(mix_logit), (C,), detached: the student's share in the fused amplitude.

        It falling towards 0 is the loss's shortcut: the fusion then copies the teacher's amplitude.
        """
        return self.mix_logit.detach().sigmoid()


class FourierLoss(MapLoss):
    """``fourier_loss`` of two maps, with parameters of its own.

    It adds 3 C (C + 1) + C parameters (197 632 more than the student at C = 256) that belong to the
    loss and never to the exported student: 2 C (C + 1) + C of the fusion, C (C + 1) of the
    predictor. A part that is left out has none.

    Args:
        in_channels: C of every map, those of the teacher's tap.
        loss_weight: factor of the loss, finite, >= 0.
        resize_stu: where sizes differ, resize the student's map (bilinear), else the teacher's.
        mask: None, a mask, or its config ``dict(type=...)``.
        sphere_radius: r > 0 of ``riemann_sphere``; None for real and imaginary part as they are.
        noise: random amplitudes U, see ``fourier_loss``.
        fusion: fuse the amplitudes of both sides (ATFM); else the student keeps its own.
        predictor: a 1x1 convolution on the student's map.
        similarity: weight channels of images by the cosine distance of the maps.
        normalize: batch normalisation of every coordinate.
        compat: "fixed" or "paper_code".
        detach_similarity: no gradient through the weighting tokens.
        sync_stats: batch statistics over all ranks of a distributed run, as SyncBN takes them
            (three small all_reduces a level); else each rank normalises by its own batch.

    Raises:
        ConfigError: an argument or a feature map breaks a rule.
    """

    linear_in_mask = True

    def __init__(
        self,
        in_channels: int = 256,
        loss_weight: float = 1.0,
        *,
        resize_stu: bool = True,
        mask: Mask | MaskConfig | None = None,
        sphere_radius: float | None = 1.0,
        noise: bool = True,
        fusion: bool = True,
        predictor: bool = True,
        similarity: bool = True,
        normalize: bool = True,
        compat: str = "fixed",
        detach_similarity: bool = False,
        sync_stats: bool = False,
    ) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)
        if sphere_radius is not None and check_weight(sphere_radius, "sphere_radius") == 0:
            raise ConfigError(
                "sphere_radius must be above 0",
                value=sphere_radius,
                fix="set sphere_radius=None for no sphere",
            )
        if compat not in COMPAT:
            raise ConfigError(
                f"compat must be one of {', '.join(COMPAT)}",
                value=compat,
                fix=near(str(compat), COMPAT),
            )
        self.in_channels = check_channels(in_channels)
        self.mask = build_mask(mask)
        self.sphere_radius = None if sphere_radius is None else float(sphere_radius)
        self.noise = check_switch(noise, "noise")
        self.similarity = check_switch(similarity, "similarity")
        self.normalize = check_switch(normalize, "normalize")
        self.compat = compat
        self.detach_similarity = check_switch(detach_similarity, "detach_similarity")
        self.sync_stats = check_switch(sync_stats, "sync_stats")
        self.predictor = (
            nn.Conv2d(in_channels, in_channels, 1) if check_switch(predictor, "predictor") else None
        )
        self.atfm = ATFM(in_channels) if check_switch(fusion, "fusion") else None
        self.composes = predictor
        self.balanced_by = None if sphere_radius is None else "sphere_radius"

    def forward(
        self, student: Tensor, teacher: Tensor, before: tuple[Tensor, nn.Conv2d] | None = None
    ) -> Tensor:
        """Weighted loss of maps (N, C, H, W) and (N, C, H', W'): a scalar.

        ``before``: where a plain 1x1 convolution made ``student`` of another map, those two; see
        ``fourier_loss``.
        """
        s, t = match_maps(student, teacher, resize_stu=self.resize_stu)
        check_width(s, self.in_channels)
        with full_precision(s):
            source = None
            if before is not None and before[0].shape[2:] == s.shape[2:]:
                source = before[0].to(s.dtype), _conv1x1(before[1], s.dtype)
            distance = fourier_loss(
                s,
                t,
                predictor=None if self.predictor is None else _conv1x1(self.predictor, s.dtype),
                fusion=None if self.atfm is None else self.atfm.fusion(s.dtype),
                mask=self.mask,
                sphere_radius=self.sphere_radius,
                noise=self.noise,
                similarity=self.similarity,
                normalize=self.normalize,
                compat=self.compat,
                detach_similarity=self.detach_similarity,
                sync_stats=self.sync_stats,
                before=source,
            )
            return distance * self.loss_weight

    def scalars(self) -> dict[str, float]:
        """``mix``, the mean of a over channels, in [0, 1], and ``sphere_radius``."""
        values = {} if self.atfm is None else {"mix": float(self.atfm.mix().mean())}
        if self.sphere_radius is not None:
            values["sphere_radius"] = self.sphere_radius
        return values

    def extra_repr(self) -> str:
        return (
            f"in_channels={self.in_channels}, loss_weight={self.loss_weight:g}, mask={self.mask}, "
            f"sphere_radius={self.sphere_radius}, noise={self.noise}, "
            f"similarity={self.similarity}, normalize={self.normalize}, compat={self.compat!r}"
        )


def _conv1x1(conv: nn.Conv2d, dtype: torch.dtype) -> Conv1x1:
    weight = conv.weight.flatten(1).to(dtype)
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.to(dtype)
    return weight, bias
