"""Frequency losses beside FeatureL2 and FourierLoss: in flow shapes, out flow seconds of a step.

Forward plus backward, in one process, all losses in turns; CPU seconds of one thread, which a busy
machine changes little, and which are what a study with a run on each core pays. ``plain`` is a
loss's formula as plain autograd, on the half spectrum as well; ``bare`` FourierLoss with nothing
left but the normalisation.

    python benchmarks/bench_spectral_l2.py [--repeats 5]
    pytest -s benchmarks/bench_spectral_l2.py     # the same, and the bar
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fourierkd.losses.amplitude_phase import SOFTNESS, AmplitudeL2, PhaseL2
from fourierkd.losses.fourier import FourierLoss
from fourierkd.losses.freqkd import FrequencyDecoupledLoss
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.spectral_l2 import SpectralL2
from fourierkd.losses.wavelet import WaveletL2
from fourierkd.spectral.half import half_spectrum, hermitian_weights
from fourierkd.spectral.masks import LowPass, mask_weights
from fourierkd.spectral.wavelet import haar

# the tap of the default study, and two FPN levels
SHAPES = ((4, 96, 16, 16), (2, 256, 50, 84), (2, 256, 100, 168))
MASK = LowPass(0.5)
LEVELS = 3
BARE: dict[str, Any] = {
    "fusion": False,
    "predictor": False,
    "noise": False,
    "similarity": False,
    "sphere_radius": None,
}
BAR = 1.0  # SpectralL2 with ``normalize`` takes at most so many times what FourierLoss takes


def half_and_weights(x: Tensor) -> tuple[Tensor, Tensor]:
    """Half spectrum of a map and the mask's weights for sums over the full one."""
    height, width = x.shape[2:]
    return half_spectrum(x), mask_weights(MASK, height, width) * hermitian_weights(width)


def normalised(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same of a map with mean 0 and variance 1 in the band."""
    spectrum, weights = half_and_weights(x - x.mean((0, 2, 3), keepdim=True))
    energy = (power(spectrum) * weights).sum((0, 2, 3))
    scale = (energy / (x.numel() // x.shape[1]) + 1e-5).rsqrt()
    return spectrum * scale[:, None, None], weights


def power(spectrum: Tensor) -> Tensor:
    return torch.view_as_real(spectrum).square().sum(-1)


def plain_spectral(student: Tensor, teacher: Tensor) -> Tensor:
    ours, weights = normalised(student)
    return (power(ours - normalised(teacher)[0]) * weights).sum() / student.numel()


def plain_amplitude(student: Tensor, teacher: Tensor) -> Tensor:
    ours, weights = normalised(student)
    error = ours.abs() - normalised(teacher)[0].abs()
    return (error.square() * weights).sum() / student.numel()


def plain_phase(student: Tensor, teacher: Tensor) -> Tensor:
    ours, weights = half_and_weights(student)
    theirs = half_spectrum(teacher)
    energy = (power(ours) * weights).sum((0, 2, 3)) / (student.numel() // student.shape[1])
    softness = (SOFTNESS**2 * energy + 1e-5)[:, None, None]
    error = ours * (power(ours) + softness).rsqrt() * theirs.abs() - theirs
    return (power(error) * weights).sum() / student.numel()


def weighted(energies: list[Tensor]) -> Tensor:
    """Sum of the bands' mean squares, each times its share of the pixels."""
    shares = [0.25 ** min(1 + i // 3, LEVELS) for i in range(len(energies))]
    return torch.stack([share * e for share, e in zip(shares, energies, strict=True)]).sum(0)


def plain_wavelet(student: Tensor, teacher: Tensor) -> Tensor:
    return weighted([band.square().mean() for band in haar(student - teacher, LEVELS)])


def plain_wavelet_normalised(student: Tensor, teacher: Tensor) -> Tensor:
    def bands(x: Tensor) -> list[Tensor]:
        found = haar(x - x.mean((0, 2, 3), keepdim=True), LEVELS)
        energies = [band.square().mean((0, 2, 3), keepdim=True) for band in found]
        scale = (weighted(energies) + 1e-5).rsqrt()
        return [band * scale for band in found]

    pairs = zip(bands(student), bands(teacher), strict=True)
    return weighted([(a - b).square().mean() for a, b in pairs])


def plain_decoupled(student: Tensor, teacher: Tensor) -> Tensor:
    error, weights = half_and_weights(student - teacher)
    low = (weights > 0).float() * hermitian_weights(student.shape[-1])
    high = hermitian_weights(student.shape[-1]) - low
    energy = power(error)
    strict, relaxed = ((energy * band).sum() / student.numel() for band in (low, high))
    return strict + 0.1 * torch.log1p(relaxed)


def plain_decoupled_normalised(student: Tensor, teacher: Tensor) -> Tensor:
    height, width = student.shape[2:]
    columns = hermitian_weights(width)
    low = (mask_weights(MASK, height, width) > 0).float()
    ours, theirs = (half_spectrum(x - x.mean((0, 2, 3), keepdim=True)) for x in (student, teacher))
    distances = []
    for band in (low * columns, (1 - low) * columns):
        scales = []
        for spectrum in (ours, theirs):
            energy = (power(spectrum) * band).sum((0, 2, 3)) / (len(student) * height * width)
            scales.append((energy + 1e-5).rsqrt()[:, None, None])
        error = power(ours * scales[0] - theirs * scales[1])
        distances.append((error * band).sum() / student.numel())
    return distances[0] + 0.1 * torch.log1p(distances[1])


PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SpectralL2, normalize": plain_spectral,
    "AmplitudeL2, normalize": plain_amplitude,
    "PhaseL2": plain_phase,
    "FrequencyDecoupled": plain_decoupled,
    "FrequencyDecoupled, normalize": plain_decoupled_normalised,
    "WaveletL2": plain_wavelet,
    "WaveletL2, normalize": plain_wavelet_normalised,
}


def losses(channels: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    return {
        "FeatureL2": FeatureL2(),
        "FeatureL2, normalize": FeatureL2(normalize=True),
        "SpectralL2": SpectralL2(mask=MASK),
        "SpectralL2, normalize": SpectralL2(mask=MASK, normalize=True),
        "AmplitudeL2": AmplitudeL2(mask=MASK),
        "AmplitudeL2, normalize": AmplitudeL2(mask=MASK, normalize=True),
        "PhaseL2": PhaseL2(mask=MASK),
        "PhaseL2, normalize": PhaseL2(mask=MASK, normalize=True),
        "FrequencyDecoupled": FrequencyDecoupledLoss(),
        "FrequencyDecoupled, normalize": FrequencyDecoupledLoss(normalize=True),
        "WaveletL2": WaveletL2(levels=LEVELS),
        "WaveletL2, normalize": WaveletL2(levels=LEVELS, normalize=True),
        **{f"{name}, plain": plain for name, plain in PLAIN.items()},
        "FourierLoss, bare": FourierLoss(channels, mask=MASK, **BARE),
        "FourierLoss": FourierLoss(channels, mask=MASK),
    }


def measure(shape: tuple[int, ...], *, repeats: int) -> dict[str, float]:
    """Median CPU seconds of forward plus backward, by loss, after one warm-up each."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(shape, generator=generator, requires_grad=True)
    teacher = torch.randn(shape, generator=generator)
    seconds: dict[str, list[float]] = {}
    values, compared = {}, losses(shape[1])
    for repeat in range(repeats + 1):
        for name, loss in compared.items():
            student.grad = None
            start = time.process_time()
            value = loss(student, teacher)
            value.backward()
            if repeat:
                seconds.setdefault(name, []).append(time.process_time() - start)
            values[name] = value.item()
    for name in PLAIN:
        ours, expected = values[name], values[f"{name}, plain"]
        assert abs(ours - expected) <= 1e-4 * expected, name
    return {name: statistics.median(all_) for name, all_ in seconds.items()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bar(shape: tuple[int, ...]) -> None:
    seconds = measure(shape, repeats=5)
    print(shape, {name: round(1e3 * value, 2) for name, value in seconds.items()}, "ms")
    assert seconds["SpectralL2, normalize"] <= BAR * seconds["FourierLoss"]
    assert seconds["SpectralL2"] <= seconds["SpectralL2, normalize"]
    for name in PLAIN:
        assert seconds[name] <= seconds[f"{name}, plain"], name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for shape in SHAPES:
        seconds = measure(shape, repeats=arguments.repeats)
        print("x".join(map(str, shape)))
        for name, value in seconds.items():
            print(f"  {name:<37} {1e3 * value:>9.2f} ms")


if __name__ == "__main__":
    main()
