import pytest
import torch

from fourierkd.spectral.half import (
    full_plane,
    half_noise,
    half_of_sums,
    half_spectrum,
    hermitian_weights,
    map_of_half_spectrum,
)

SIZES = [(6, 8), (5, 7), (6, 7), (5, 8), (1, 5), (4, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_parseval_and_equality_with_the_full_spectrum(size):
    torch.manual_seed(0)
    feature = torch.randn(2, 3, *size, dtype=torch.float64)
    spectrum = half_spectrum(feature)
    columns = hermitian_weights(size[1], dtype=torch.float64)
    assert spectrum.shape == (2, 3, size[0], size[1] // 2 + 1)
    torch.testing.assert_close(
        spectrum, torch.fft.fft2(feature, norm="ortho")[..., : size[1] // 2 + 1]
    )
    energy = (spectrum.abs() ** 2 * columns).sum()
    torch.testing.assert_close(energy, feature.square().sum())
    assert columns.sum() == size[1]
    torch.testing.assert_close(map_of_half_spectrum(spectrum, size[1]), feature)


@pytest.mark.parametrize("size", SIZES)
def test_noise_keeps_the_spectrum_that_of_a_real_map(size):
    torch.manual_seed(0)
    height, width = size
    feature = torch.randn(2, 3, height, width, dtype=torch.float64)
    spectrum = half_spectrum(feature)
    noise = half_noise(spectrum.real, width)
    assert noise.min() >= 0
    assert noise.max() < 1
    # a half spectrum that is not that of a real map does not survive the way there and back
    noisy = spectrum * noise
    torch.testing.assert_close(half_spectrum(map_of_half_spectrum(noisy, width)), noisy)


def test_noise_is_drawn_from_the_default_generator():
    like = torch.empty(1, 1, 4, 3)
    torch.manual_seed(3)
    first = half_noise(like, 4)
    torch.manual_seed(3)
    assert torch.equal(half_noise(like, 4), first)
    assert not torch.equal(half_noise(like, 4), first)


@pytest.mark.parametrize("size", SIZES)
def test_full_plane_and_its_transpose(size):
    torch.manual_seed(0)
    spectrum = torch.fft.fft2(torch.randn(2, 3, *size, dtype=torch.float64), norm="ortho")
    columns = size[1] // 2 + 1
    other = torch.randn(2, 3, *size, dtype=torch.float64)
    for part, odd in ((spectrum.real, False), (spectrum.imag, True)):
        half = part[..., :columns].clone()
        torch.testing.assert_close(full_plane(half, size[1], odd=odd), part)
        # <half, transpose(other)> = <full_plane(half), other>
        folded = half_of_sums(other, odd=odd)
        torch.testing.assert_close((half * folded).sum(), (part * other).sum())
        # as symmetric as the part itself: gradients that an inverse transform takes as they are
        whole = full_plane(
            folded / hermitian_weights(size[1], dtype=torch.float64), size[1], odd=odd
        )
        flipped = whole.flip((-2, -1)).roll((1, 1), (-2, -1))
        torch.testing.assert_close(flipped, -whole if odd else whole)
