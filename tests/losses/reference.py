"""The spectral losses on the full spectrum, from their formulas: complex, with angles, slow.

And the maps that they are tried on.
"""

import torch
from torch.nn import functional as F

SIZES = [(6, 8), (5, 7), (6, 7), (5, 8), (1, 9), (1, 8), (7, 1), (2, 2)]


def maps(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([0.3, 1.0, 5.0, 2.0, 0.7], dtype=dtype)[: shape[1], None, None]
    student = torch.randn(shape, generator=generator, dtype=dtype) * scale + 0.4
    teacher = 0.5 * student + torch.randn(shape, generator=generator, dtype=dtype)
    return student.requires_grad_(), teacher


def value_and_gradient(loss, student, teacher):
    value = loss(student, teacher)
    return value.detach(), *torch.autograd.grad(value, student)


def assert_same(ours, reference, tolerance):
    for a, b in zip(ours, reference, strict=True):
        scale = b.abs().max().clamp_min(1e-12)
        assert (a - b).abs().max() <= tolerance * scale, (a.shape, (a - b).abs().max() / scale)


def assert_half_precision_is_lifted(loss, dtype):
    """Under autocast a loss of half precision maps is that of float32, and so is its gradient."""
    student, teacher = maps(2, 3, 4, 5, dtype=torch.float32)
    low = student.detach().to(dtype).requires_grad_()
    expected = loss(low.detach().float(), teacher.to(dtype).float())
    with torch.autocast("cpu", dtype=dtype):
        value = loss(low, teacher.to(dtype))
        value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert low.grad.dtype == dtype
    assert low.grad.isfinite().all()


def full_spectrum_loss(
    student,
    teacher,
    loss,
    *,
    shift_all_axes=False,
    mask=None,
    noise=None,
    radius=1.0,
    similarity=True,
    normalize=True,
    rounded=lambda x: x,
):
    """``loss``: a FourierLoss, for the parameters that it has; mask: (H, W), in fftfreq order;
    noise: (N, C, H, W), in the order of the (shifted) spectrum; radius: None for no sphere.

    ``rounded`` is applied to every (N, C, H, W) whose rounding errors a later step can magnify:
    maps before the transform, the fused amplitude, coordinates before the normalisation.
    """
    n, c = student.shape[:2]
    tokens = torch.ones(n, c, dtype=student.dtype)
    if similarity:
        tokens = 1 - F.cosine_similarity(student.flatten(2), teacher.flatten(2), dim=2)

    def spectrum(feature):
        transformed = torch.fft.fft2(rounded(feature), norm="ortho")
        return torch.fft.fftshift(transformed) if shift_all_axes else transformed

    x_s = spectrum(student if loss.predictor is None else loss.predictor(student))
    x_t = spectrum(teacher)
    if loss.atfm is not None:
        a = loss.atfm.mix_logit.sigmoid().view(1, c, 1, 1)
        side_s, side_t = loss.atfm.student_conv(x_s.abs()), loss.atfm.teacher_conv(x_t.abs())
        x_s = rounded(a * side_s + (1 - a) * side_t) * torch.exp(1j * x_s.angle())
    if noise is not None:
        x_s = x_s * noise

    def coordinates(x):
        if radius is None:
            return [rounded(x.real), rounded(x.imag)]
        x = x / radius
        power = x.real**2 + x.imag**2
        return [rounded(y / (power + 1)) for y in (2 * x.real, 2 * x.imag, power - 1)]

    total = 0.0
    for r_s, r_t in zip(coordinates(x_s), coordinates(x_t), strict=True):
        if normalize:
            r_s, r_t = (F.batch_norm(r, None, None, training=True, eps=1e-5) for r in (r_s, r_t))
        error = tokens.view(n, c, 1, 1) * (r_s - r_t) ** 2
        total = total + (error if mask is None else error * mask).mean() / 2
    return total * loss.loss_weight


def full_plane(half, width):
    """From the half to the full spectrum, for a real quantity that is equal at k and -k."""
    height = half.shape[-2]
    ky, kx = torch.arange(height)[:, None], torch.arange(width)
    mirrored = kx > width // 2
    return half[..., torch.where(mirrored, -ky % height, ky), torch.where(mirrored, width - kx, kx)]


def band_passed(feature, mask):
    """The map that the square roots of a mask's weights, (H, W) in fftfreq order, leave of one."""
    return torch.fft.ifft2(torch.fft.fft2(feature) * mask.sqrt()).real


def band_distance(student, teacher, mask, *, normalize):
    """Mean squared difference of two filtered maps, each by itself brought to mean 0 and std 1."""
    ours, theirs = band_passed(student, mask), band_passed(teacher, mask)
    if normalize:
        ours, theirs = (F.batch_norm(x, None, None, training=True) for x in (ours, theirs))
    return F.mse_loss(ours, theirs)


def amplitude_distance(student, teacher, mask, *, normalize):
    """Mean squared difference of amplitudes, weighted by a mask (H, W)."""
    ours, theirs = (_spectrum(x, mask, normalize).abs() for x in (student, teacher))
    return (mask * (ours - theirs) ** 2).mean()


def phase_distance(student, teacher, mask, *, weighted, normalize):
    """Mean squared distance of soft phasors, weighted by a mask (H, W), by the angles."""

    def soft(spectrum):
        amplitude = spectrum.abs()
        floor = 1e-4 * (mask * amplitude**2).mean((0, 2, 3), keepdim=True) + 1e-5
        return torch.polar(amplitude / (amplitude**2 + floor).sqrt(), spectrum.angle())

    if normalize:
        student, teacher = (x - x.mean((0, 2, 3), keepdim=True) for x in (student, teacher))
    ours, theirs = _spectrum(student, mask, False), _spectrum(teacher, mask, normalize and weighted)
    if weighted:
        return (mask * (theirs.abs() * soft(ours) - theirs).abs() ** 2).mean()
    return (mask * (soft(ours) - soft(theirs)).abs() ** 2).mean()


def _spectrum(x, mask, normalize):
    if not normalize:
        return torch.fft.fft2(x, norm="ortho")
    spectrum = torch.fft.fft2(x - x.mean((0, 2, 3), keepdim=True), norm="ortho")
    variance = (mask * spectrum.abs() ** 2).mean((0, 2, 3), keepdim=True)
    return spectrum / (variance + 1e-5).sqrt()
