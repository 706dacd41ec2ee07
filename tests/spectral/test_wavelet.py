import doctest

import pytest
import torch

from fourierkd.spectral import wavelet
from fourierkd.spectral.wavelet import haar, haar_sums, haar_sums_adjoint, inverse_haar, levels_of

SIZES = [(8, 8), (16, 24), (5, 7), (6, 7), (13, 25), (1, 9), (7, 1), (1, 1), (2, 3)]
LEVELS = pytest.mark.parametrize("levels", [1, 2, 3])


def by_hand(x):
    """One level of a map (H, W), pixel by pixel: LL, LH, HL, HH."""
    height, width = x.shape
    bands = torch.empty(4, (height + 1) // 2, (width + 1) // 2, dtype=x.dtype)
    for i in range(bands.shape[1]):
        for j in range(bands.shape[2]):
            rows, columns = (2 * i, min(2 * i + 1, height - 1)), (2 * j, min(2 * j + 1, width - 1))
            (a, b), (c, d) = ([x[row, column] for column in columns] for row in rows)
            bands[:, i, j] = torch.stack(
                (a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d)
            )
    return bands / 2


@LEVELS
@pytest.mark.parametrize("size", SIZES)
def test_bands_are_those_of_loops_over_pixels(size, levels):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    bands = haar(x, levels)
    assert len(bands) == 3 * levels + 1
    low = x[1, 2]
    for level in range(levels):
        low, *details = by_hand(low)
        for band, expected in zip(bands[3 * level : 3 * level + 3], details, strict=True):
            torch.testing.assert_close(band[1, 2], expected)
    torch.testing.assert_close(bands[-1][1, 2], low)


@LEVELS
@pytest.mark.parametrize("size", SIZES)
def test_bands_give_the_map_back_and_the_adjoint_is_one(size, levels):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    bands = haar(x, levels)
    copies = [band.clone() for band in bands]
    torch.testing.assert_close(inverse_haar(bands, *size), x)
    sums = haar_sums(x, levels)
    for total, band, level in zip(sums, bands, levels_of(sums), strict=True):
        torch.testing.assert_close(total, band * 2**level)
    others = [torch.randn_like(band) for band in sums]
    product = sum((a * b).sum() for a, b in zip(sums, others, strict=True))
    torch.testing.assert_close((x * haar_sums_adjoint(others, *size)).sum(), product)
    assert all(torch.equal(a, b) for a, b in zip(bands, copies, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parseval_where_sides_can_be_halved(dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 24, dtype=dtype)
    energy = sum(band.square().sum() for band in haar(x, 3))
    torch.testing.assert_close(energy, x.square().sum())


@LEVELS
@pytest.mark.parametrize("size", SIZES)
def test_a_constant_has_no_detail_at_any_size(size, levels):
    *details, low = haar(torch.full((1, 1, *size), 3.0), levels)
    assert all(band.abs().max() == 0 for band in details)
    assert torch.equal(low, torch.full_like(low, 3.0 * 2**levels))


def test_letters_are_y_then_x():
    ripple = torch.tensor([1.0, -1.0]).repeat(4)
    flat = torch.ones(8)
    for rows, columns, there in ((flat, ripple, 0), (ripple, flat, 1), (ripple, ripple, 2)):
        bands = haar((rows[:, None] * columns).view(1, 1, 8, 8))
        energies = [band.square().sum().item() for band in bands]
        assert energies == [64.0 if band == there else 0.0 for band in range(4)]


def test_gradcheck():
    for size in ((4, 6), (3, 5), (1, 4)):
        x = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: tuple(haar(x, 2)), x)


def test_docstring_examples():
    assert doctest.testmod(wavelet).failed == 0
