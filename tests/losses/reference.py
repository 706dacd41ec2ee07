"""The spectral losses on the full spectrum, from their formulas: complex, with angles, slow."""

import torch
from torch.nn import functional as F


def full_spectrum_loss(
    student,
    teacher,
    loss,
    *,
    shift_all_axes=False,
    mask=None,
    noise=None,
    radius=1.0,
    rounded=lambda x: x,
):
    """``loss``: a FourierLoss, for its parameters; mask: (H, W), in fftfreq order.

    ``rounded`` is applied to every (N, C, H, W) whose rounding errors a later step can magnify:
    maps before the transform, the fused amplitude, coordinates before the normalisation.
    """
    n, c = student.shape[:2]
    tokens = 1 - F.cosine_similarity(student.flatten(2), teacher.flatten(2), dim=2)

    def polar(feature):
        spectrum = torch.fft.fft2(feature, norm="ortho")
        if shift_all_axes:
            spectrum = torch.fft.fftshift(spectrum)
        return spectrum.abs(), spectrum.angle()

    amplitude_s, phase_s = polar(rounded(loss.predictor(student)))
    amplitude_t, phase_t = polar(rounded(teacher))
    a = loss.atfm.mix_logit.sigmoid().view(1, c, 1, 1)
    fused = a * loss.atfm.student_conv(amplitude_s) + (1 - a) * loss.atfm.teacher_conv(amplitude_t)
    fused = rounded(fused)
    if noise is not None:
        fused = fused * noise

    def sphere(x):
        power = x.real**2 + x.imag**2
        return [rounded(y / (power + 1)) for y in (2 * x.real, 2 * x.imag, power - 1)]

    total = 0.0
    for r_s, r_t in zip(
        sphere(fused * torch.exp(1j * phase_s) / radius),
        sphere(amplitude_t * torch.exp(1j * phase_t) / radius),
        strict=True,
    ):
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
