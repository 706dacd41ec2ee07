"""The distance of the Fourier loss: in flow two maps and the fusion weights, out flows a scalar.

One autograd function computes value and gradients together, channel block by channel block, in
closed form and real arithmetic. Why not plain autograd: at (2, 256, 100, 168) in float32 on one
thread, the part after the fusion took 0.60 s as whole-map autograd once the allocator was warm (1.8
s the first time), 0.39 s as autograd on blocks that stay in cache, and 0.22 s as written here; and
what is kept until the backward pass is four half maps and the predicted map instead of some thirty.
Tests hold it to a full-spectrum reference.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from fourierkd.spectral.half import (
    half_noise,
    half_spectrum,
    hermitian_weights,
    map_of_half_spectrum,
)
from fourierkd.spectral.sphere import riemann_sphere

BN_EPS = 1e-5
# Half-spectrum elements per block on the CPU: its temporaries then stay in cache. For (2, 256, 100,
# 168) forward and backward took 0.76 s on one thread and 0.52 s on two with 2^20, 0.62 and 0.39 s
# with 2^18, 0.65 and 0.56 s with 2^16.
BLOCK_ELEMENTS = 1 << 18
# An amplitude below this many roundings of the map's rms is what the FFT left of an exact zero.
ZERO_ROUNDINGS = 16
# Imaginary parts cancel over conjugate pairs: the mean of this coordinate is 0.
IMAGINARY = 1


def spectral_distance(
    predicted: Tensor,
    weight: Tensor,
    bias: Tensor,
    tokens: Tensor,
    teacher: Tensor,
    *,
    mask: Tensor | None = None,
    radius: float = 1.0,
    noise: bool = False,
    sync_stats: bool = False,
) -> Tensor:
    r"""Token-weighted distance of two normalised spectra on the Riemann sphere.

    .. math::

        A_f = M [A_S; A_T] + b, \quad X_S = U A_f e^{i P_S}, \quad X_T = F_T, \qquad
        L = \tfrac12 \sum_{k=1}^{3} \operatorname{mean}_{n,c,\kappa}
            w_{nc} \, m_\kappa \, (BN(R_S^k) - BN(R_T^k))^2

    with A, P the amplitude and phase of the orthonormal spectrum F, R the Riemann sphere, BN the
    batch normalisation of each channel over (N, H, W), biased variance, eps 1e-5, before the mask.
    The mean is over the full spectrum, computed on the half spectrum with Hermitian weights.

    The phase needs no angle: cos P = Re F / |F|, sin P = Im F / |F|. Where |F| is zero, or no
    larger than the rounding an FFT leaves of a zero (16 eps times the map's rms), P = 0 as angle(0)
    = 0, and neither amplitude nor phase passes a gradient to F. So gradients are finite at zero
    features.

    Args:
        predicted: (N, C, H, W), real, the student after its predictor.
        weight: M, (C, 2C), over the amplitudes of student and then teacher.
        bias: b, (C,).
        tokens: w, (N, C).
        teacher: (N, C, H, W), real; gets no gradient.
        mask: m, (H, W//2 + 1), or None for ones.
        radius: of the sphere, > 0, in units of spectral amplitude.
        noise: whether U is uniform [0, 1) noise (``half_noise``) or 1.
        sync_stats: take BN's mean and variance over the batches of all ranks of torch.distributed's
            default group. Every rank must call it, with equally many channels. The gradient is then
            that of the *sum* of all ranks' distances, as each of them depends on this rank's maps;
            it needs the same upstream factor on every rank, as a training step has it. DDP takes
            the mean of the gradients: that of one process with all batches.

    Returns:
        Scalar, dimensionless. Differentiable once, in the first four arguments.
    """
    return _SpectralDistance.apply(
        predicted, weight, bias, tokens, teacher, mask, radius, noise, sync_stats
    )


class _SpectralDistance(torch.autograd.Function):
    """Forward leaves the gradients at A_f and P_S; backward takes them through fusion and FFT."""

    @staticmethod
    def forward(
        ctx: Any,
        predicted: Tensor,
        weight: Tensor,
        bias: Tensor,
        tokens: Tensor,
        teacher: Tensor,
        mask: Tensor | None,
        radius: float,
        noise: bool,
        sync_stats: bool,
    ) -> Tensor:
        n, c, height, width = predicted.shape
        columns = width // 2 + 1
        shared = sync_stats and distributed.is_initialized() and distributed.get_world_size() > 1
        count = n * height * width
        if shared:
            total = torch.tensor(float(count), dtype=torch.float64, device=predicted.device)
            distributed.all_reduce(total)
            count = int(total)
        amplitudes = predicted.new_empty(n, 2 * c, height, columns)  # student's, then teacher's

        def transform(block: slice) -> None:
            _write_amplitude(predicted[:, block], amplitudes[:, block])
            _write_amplitude(teacher[:, block], amplitudes[:, _shift(block, c)])

        _each(transform, _channel_blocks(n, c, height * columns, predicted.is_cpu))
        fused = torch.baddbmm(bias[:, None], weight.expand(n, -1, -1), amplitudes.flatten(2)).view(
            n, c, height, columns
        )

        factor = half_noise(fused, width) if noise else None
        phase_gradient = torch.empty_like(fused)
        distances = torch.empty_like(tokens)
        token_scale = tokens / (2 * predicted.numel())

        def compare(block: slice) -> None:
            distances[:, block] = _block_distance(
                fused[:, block],
                phase_gradient[:, block],
                amplitudes[:, block],
                predicted[:, block],
                teacher[:, block],
                token_scale[:, block],
                mask,
                radius,
                None if factor is None else factor[:, block],
                count,
                shared,
            )

        # ranks whose maps differ in size would cut blocks, and so collectives, of other sizes
        blocked = predicted.is_cpu and not shared
        _each(compare, _channel_blocks(n, c, height * columns, blocked))
        fused_gradient = fused  # _block_distance replaced it
        ctx.save_for_backward(
            predicted, weight, amplitudes, fused_gradient, phase_gradient, distances
        )
        return (distances * token_scale).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        predicted, weight, amplitudes, fused_gradient, phase_gradient, distances = ctx.saved_tensors
        n, c, height, width = predicted.shape
        columns = width // 2 + 1
        per_output = fused_gradient.flatten(2)  # (N, C, H * columns)
        predicted_gradient = weight_gradient = bias_gradient = token_gradient = None
        with torch.autocast(predicted.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                student_weight = weight[:, :c].t().expand(n, -1, -1)
                amplitude_gradient = torch.bmm(student_weight, per_output).view_as(fused_gradient)
                # an inverse transform counts a column as often as the full spectrum does
                column_scale = grad / hermitian_weights(
                    width, device=predicted.device, dtype=predicted.dtype
                )
                predicted_gradient = torch.empty_like(predicted)

                def transform(block: slice) -> None:
                    spectrum = half_spectrum(predicted[:, block])
                    inverse, _ = _inverse_amplitude(amplitudes[:, block], predicted[:, block])
                    scale = inverse * column_scale
                    # dF = F / |F| * (dA + i dP / |F|)
                    radial = amplitude_gradient[:, block] * scale
                    tangential = scale.mul_(inverse).mul_(phase_gradient[:, block])
                    gradient = torch.complex(radial, tangential).mul_(spectrum)
                    predicted_gradient[:, block] = map_of_half_spectrum(gradient, width)

                _each(transform, _channel_blocks(n, c, height * columns, predicted.is_cpu))
            if ctx.needs_input_grad[1]:
                weight_gradient = torch.zeros_like(weight)
                for output, amplitude in zip(per_output, amplitudes.flatten(2), strict=True):
                    weight_gradient.addmm_(output, amplitude.t())
                weight_gradient.mul_(grad)
            if ctx.needs_input_grad[2]:
                bias_gradient = per_output.sum((0, 2)) * grad
            if ctx.needs_input_grad[3]:
                token_gradient = distances * (grad / (2 * predicted.numel()))
        gradients = (predicted_gradient, weight_gradient, bias_gradient, token_gradient)
        return (*gradients, None, None, None, None, None)


def _block_distance(
    fused: Tensor,
    phase_gradient: Tensor,
    amplitude: Tensor,
    predicted: Tensor,
    teacher: Tensor,
    token_scale: Tensor,
    mask: Tensor | None,
    radius: float,
    factor: Tensor | None,
    count: int,
    shared: bool,
) -> Tensor:
    """Summed squared error per (image, channel) of one channel block, (N, c).

    Overwrites ``fused`` by the gradient of ``token_scale * distance`` at A_f, and
    ``phase_gradient`` by that at P_S. ``factor``: U, None for 1. ``count``: values of a channel in
    the batch statistics; ``shared``: whether these are over all ranks.
    """
    width = predicted.shape[-1]
    columns = hermitian_weights(width, device=fused.device, dtype=fused.dtype)  # (W//2 + 1,)
    spectrum = torch.view_as_real(half_spectrum(predicted))
    inverse, zero = _inverse_amplitude(amplitude, predicted)
    cosine = (spectrum[..., 0] * inverse).masked_fill_(zero, 1.0)
    sine = spectrum[..., 1] * inverse

    # The sphere in polar form: R = (k A cos P, k A sin P, k A^2 / r - 1), k = 2 r / (A^2 + r^2)
    mixed = fused * factor if factor is not None else fused.clone()
    k = mixed.square().add_(radius**2).reciprocal_().mul_(2 * radius)
    across = k * mixed
    height = mixed * across / radius  # third coordinate + 1: BN removes the constant
    student = (across * cosine, across * sine, height.clone())
    teacher_spectrum = torch.view_as_real(half_spectrum(teacher))
    target = riemann_sphere(
        teacher_spectrum[..., 0].contiguous(), teacher_spectrum[..., 1].contiguous(), radius=radius
    )

    distance = torch.zeros_like(token_scale)
    statistics = _shared_statistics((*student, *target), columns, count) if shared else [None] * 6
    outputs = []  # per axis: gradient at BN's output, the output, 1 / deviation
    for axis, (ours, theirs) in enumerate(zip(student, target, strict=True)):
        centred = axis != IMAGINARY
        deviation = _standardise(ours, columns, count, centred, statistics[axis])
        _standardise(theirs, columns, count, centred, statistics[3 + axis])
        error = torch.sub(ours, theirs, out=theirs)
        weighted = error * columns
        if mask is not None:
            weighted.mul_(mask)
        distance += _dot(weighted, error)
        outputs.append((weighted.mul_(2 * token_scale[..., None, None]), ours, deviation))
    sums = torch.stack(  # (3, 2, c)
        [_gradient_sums(g, y, axis != IMAGINARY) for axis, (g, y, _) in enumerate(outputs)]
    )
    if shared:
        distributed.all_reduce(sums)
    gradients = [
        _standardise_backward(*output, columns, count, axis_sums, axis != IMAGINARY)
        for axis, (output, axis_sums) in enumerate(zip(outputs, sums, strict=True))
    ]

    real, imag, up = gradients
    torch.mul(imag, cosine, out=phase_gradient)
    phase_gradient.addcmul_(real, sine, value=-1).mul_(across)
    # d(k A)/dA = k (1 - h) and dh/dA = k (k A) for the height h = k A^2 / r
    outward = real.mul_(cosine).addcmul_(imag, sine)
    torch.sub(outward, height.mul_(outward), out=fused)
    fused.addcmul_(up, across).mul_(k)
    if factor is not None:
        fused.mul_(factor)
    return distance


def _standardise(
    x: Tensor,
    columns: Tensor,
    count: int,
    centred: bool,
    statistics: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Batch-normalise x (N, c, H, K) in place; returns 1 / sqrt(variance + eps), (c, 1, 1).

    ``statistics``: mean and that inverse deviation, where they are known already.
    """
    if statistics is not None:
        mean, deviation = statistics
        x.sub_(mean)
    else:
        if centred:
            x.sub_(_full_sum(x, columns).div_(count))
        deviation = _full_sum(x.square(), columns).div_(count).add_(BN_EPS).rsqrt_()
    x.mul_(deviation)
    return deviation


def _shared_statistics(
    maps: tuple[Tensor, ...], columns: Tensor, count: int
) -> list[tuple[Tensor, Tensor]]:
    """Mean and 1 / sqrt(variance + eps) of each map over all ranks, (c, 1, 1) each.

    Two passes, as one process takes them: two all_reduces for all maps together.
    """
    means = torch.stack([_full_sum(x, columns) for x in maps])  # (6, c, 1, 1)
    distributed.all_reduce(means)
    means.div_(count)
    means[IMAGINARY::3] = 0.0
    squares = torch.stack(
        [_full_sum((x - mean).square(), columns) for x, mean in zip(maps, means, strict=True)]
    )
    distributed.all_reduce(squares)
    return list(zip(means, squares.div_(count).add_(BN_EPS).rsqrt_(), strict=True))


def _gradient_sums(gradient: Tensor, y: Tensor, centred: bool) -> Tensor:
    """Sums over the batch of g * y and of g, (2, c): what BN's backward needs of all the batch.

    The second is 0 where no mean was taken off.

    ``gradient`` carries the Hermitian weights, so plain sums over it are sums over the full
    spectrum.
    """
    along = _dot(gradient, y).sum(0)
    return torch.stack((along, gradient.sum((0, 2, 3)) if centred else torch.zeros_like(along)))


def _standardise_backward(
    gradient: Tensor,
    y: Tensor,
    deviation: Tensor,
    columns: Tensor,
    count: int,
    sums: Tensor,
    centred: bool,
) -> Tensor:
    """Gradient at the input of ``_standardise`` from that at its output y, in place.

    ``sums``: ``_gradient_sums``, of all ranks where the statistics are.
    """
    along, mean = sums[:, :, None, None] * columns / count  # (c, 1, W//2 + 1) each
    if centred:
        gradient.sub_(mean)
    return gradient.addcmul_(y, along, value=-1).mul_(deviation)


def _full_sum(x: Tensor, columns: Tensor) -> Tensor:
    """Sum over images and the full spectrum of x (N, c, H, W//2 + 1): (c, 1, 1)."""
    return (x.sum((0, 2)) @ columns)[:, None, None]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum over frequencies of a * b: (N, c, H, K), (N, c, H, K) -> (N, c)."""
    return torch.linalg.vecdot(a.flatten(2), b.flatten(2))


def _write_amplitude(feature: Tensor, out: Tensor) -> None:
    """|F| of a map into ``out``; by hypot of the parts, as abs of complex takes thrice as long."""
    real, imag = torch.view_as_real(half_spectrum(feature)).unbind(-1)
    torch.hypot(real.contiguous(), imag.contiguous(), out=out)


def _inverse_amplitude(amplitude: Tensor, feature: Tensor) -> tuple[Tensor, Tensor]:
    """1 / |F|, and 0 where F is no more than rounding; and where that is."""
    rms = torch.linalg.vector_norm(feature, dim=(2, 3), keepdim=True)
    rms = rms / (feature.shape[2] * feature.shape[3]) ** 0.5  # Parseval: of the spectrum as well
    zero = amplitude <= rms * (ZERO_ROUNDINGS * torch.finfo(feature.dtype).eps)
    return amplitude.reciprocal().masked_fill_(zero, 0.0), zero


def _channel_blocks(n: int, channels: int, frequencies: int, blocked: bool) -> list[slice]:
    """Slices of channels small enough for the cache; statistics and FFTs are per channel."""
    step = max(1, BLOCK_ELEMENTS // (n * frequencies)) if blocked else channels
    return [slice(i, min(i + step, channels)) for i in range(0, channels, step)]


def _each(function: Callable[[slice], None], blocks: list[slice]) -> None:
    """Run ``function`` on every block, a thread to a block as long as there are threads.

    PyTorch's own threads would split every operation, and wait for each other after each.
    """
    threads = torch.get_num_threads()
    if min(threads, len(blocks)) < 2:
        for block in blocks:
            function(block)
        return

    def alone(block: slice) -> None:
        with torch.no_grad():  # a setting of the thread
            function(block)

    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(alone, blocks))
    finally:
        torch.set_num_threads(threads)  # the workers' 1 would be the default of later threads


def _shift(block: slice, by: int) -> slice:
    return slice(block.start + by, block.stop + by)
