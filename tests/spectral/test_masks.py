import json
import math
from fractions import Fraction

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.spectral.frequency import radial_frequency
from fourierkd.spectral.half import hermitian_weights
from fourierkd.spectral.masks import (
    MASKS,
    AllPass,
    BandPass,
    Gaussian,
    HighPass,
    LowPass,
    OrientationSectors,
    Product,
    RadialKnots,
    build_mask,
    mask_config,
    mask_weights,
)

EXAMPLES = [
    AllPass(),
    LowPass(0.4),
    LowPass(0.4, soft=0.2),
    HighPass(0.4),
    HighPass(0.5, soft=0.3),
    BandPass(0.2, 0.6),
    BandPass(0.2, 1.0, soft=0.1),
    Gaussian(0.3, 0.1),
    RadialKnots((1.0, 0.2, 2.0)),
    RadialKnots((0.0, 1.0), knots=(0.25, 0.75)),
    OrientationSectors((1.0, 0.0, 3.0)),
    Product((BandPass(0.1, 0.8), OrientationSectors((1.0, 0.5)))),
]


def radii(size):
    return radial_frequency(size, size, dtype=torch.float64) * 2  # fractions of Nyquist


def test_every_mask_has_an_example():
    assert {type(mask).__name__ for mask in EXAMPLES} == set(MASKS)


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
@pytest.mark.parametrize("size", [(32, 32), (7, 12), (12, 9), (1, 16)])
def test_mean_over_the_full_spectrum_is_one(mask, size):
    weights = mask_weights(mask, *size, dtype=torch.float64)
    assert weights.shape == (size[0], size[1] // 2 + 1)
    assert weights.min() >= 0
    mean = (weights * hermitian_weights(size[1], dtype=torch.float64)).sum() / (size[0] * size[1])
    assert mean.item() == pytest.approx(1)


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_white_error_keeps_the_scale_of_the_loss(mask):
    torch.manual_seed(0)
    columns = hermitian_weights(48)
    error = torch.randn(200, 48, 25).square()
    masked = (error * columns * mask_weights(mask, 48, 48)).mean((1, 2))
    assert masked.mean().item() == pytest.approx((error * columns).mean().item(), rel=0.02)


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_resolution_free(mask):
    small = mask_weights(mask, 32, 32, dtype=torch.float64)[:, :16]  # not the Nyquist column
    large = mask_weights(mask, 64, 64, dtype=torch.float64)[::2, ::2][:, :16]  # same frequencies
    rows = [i for i in range(32) if i != 16]
    small, large = small[rows], large[rows]
    scale = large.sum() / small.sum()
    torch.testing.assert_close(small * scale, large)
    assert scale.item() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_symmetric_so_that_a_real_map_stays_real(mask):
    for height, width in ((8, 6), (7, 9)):
        weights = mask_weights(mask, height, width, dtype=torch.float64)
        mirrored = weights[torch.arange(0, -height, -1)]
        for column in (0, -1) if width % 2 == 0 else (0,):
            torch.testing.assert_close(weights[:, column], mirrored[:, column])


def test_radial_shapes():
    r = radii(32)
    low = mask_weights(LowPass(0.5), 32, 32)
    assert torch.equal(low > 0, r < 0.5)
    assert torch.equal(mask_weights(HighPass(0.5), 32, 32) > 0, r >= 0.5)
    band = mask_weights(BandPass(0.25, 0.5, soft=0.0), 32, 32)
    assert torch.equal(band > 0, (r >= 0.25) & (r < 0.5))
    open_top = mask_weights(BandPass(0.25, 1.0, soft=0.0), 32, 32)
    assert torch.equal(open_top > 0, r >= 0.25)
    assert torch.equal(mask_weights(LowPass(1.0), 8, 8), mask_weights(AllPass(), 8, 8))


EDGES = [Fraction(k, 20) for k in range(1, 20)]  # 0.05 to 0.95, few of which floats can hold


@pytest.mark.parametrize("edge", EDGES, ids=str)
def test_a_ring_on_a_hard_edge_is_above_it_at_every_size(edge):
    sizes = [*range(2, 129), 200, 250, 360, 512]
    for size in sizes:
        low = LowPass(float(edge)).raw(*frequencies(size))
        high = HighPass(float(edge)).raw(*frequencies(size))
        halves = [Fraction(2 * i, size) for i in range(size // 2 + 1)]
        expected = [f < edge for f in halves]  # on the axis
        assert low[0].bool().tolist() == expected
        assert torch.equal(low + high, torch.ones_like(low))


@pytest.mark.parametrize("size", [10, 30, 50, 65, 70, 100, 130])
def test_nor_does_a_ring_off_the_axes(size):
    for i, j in ((3, 4), (4, 3), (5, 12), (8, 15)):  # radii that are whole numbers
        if 2 * max(i, j) <= size:
            edge = 2 * math.hypot(i, j) / size
            if edge < 1:  # 1 is an open top
                assert LowPass(edge).raw(*frequencies(size))[i, j] == 0
                assert HighPass(edge).raw(*frequencies(size))[i, j] == 1
                assert BandPass(edge / 2, edge, soft=0.0).raw(*frequencies(size))[i, j] == 0


def frequencies(size):
    """As ``mask_weights`` has them."""
    return (
        2 * torch.fft.fftfreq(size, dtype=torch.float64)[:, None],
        2 * torch.fft.rfftfreq(size, dtype=torch.float64),
    )


def test_soft_edges_rise_over_their_width():
    r = radii(64)[0]
    weights = HighPass(0.5, soft=0.25).raw(torch.zeros(1, dtype=torch.float64), r)
    assert torch.all(weights[r <= 0.375] == 0)
    assert torch.all(weights[r >= 0.625] == 1)
    torch.testing.assert_close(weights[r == 0.5], torch.tensor([0.5], dtype=torch.float64))
    assert torch.all(weights.diff() >= 0)


def test_gaussian_and_knots_by_hand():
    fx = torch.tensor([0.0, 0.25, 0.5, 1.0, 1.4])
    zero = torch.zeros(1)
    torch.testing.assert_close(
        Gaussian(0.5, 0.25).raw(zero, fx)[:3], torch.tensor([math.exp(-2), math.exp(-0.5), 1.0])
    )
    torch.testing.assert_close(
        RadialKnots((1, 3, 2)).raw(zero, fx), torch.tensor([1.0, 2.0, 3.0, 2.0, 2.0])
    )
    torch.testing.assert_close(
        RadialKnots([4, 2], knots=[0.25, 0.5]).raw(zero, fx),
        torch.tensor([4.0, 4.0, 2.0, 2.0, 2.0]),
    )


def test_orientation_sectors():
    sectors = OrientationSectors((1.0, 2.0, 3.0, 4.0))

    def at(fy, fx):
        return sectors.raw(torch.tensor(float(fy)), torch.tensor(float(fx))).item()

    assert at(0, 1) == at(0, -1) == 1  # 0 degrees: varies along x
    assert at(1, 1) == at(-1, -1) == 2  # 45
    assert at(1, 0) == at(-1, 0) == 3  # 90: varies along y
    assert at(1, -1) == at(-1, 1) == 4  # 135
    assert at(0, 0) == 2.5
    # turning the picture by 90 degrees exchanges the sectors of two
    half = mask_weights(OrientationSectors((0.0, 1.0)), 9, 9, dtype=torch.float64)
    assert half[1:5, 0].min() > 0  # ky > 0, kx = 0
    assert half[0, 1:].max() == 0


def test_product():
    product = Product((LowPass(0.5), dict(type="HighPass", cutoff=0.25)))
    torch.testing.assert_close(
        mask_weights(product, 32, 32), mask_weights(BandPass(0.25, 0.5, soft=0.0), 32, 32)
    )


@pytest.mark.parametrize("mask", EXAMPLES, ids=repr)
def test_description_is_json_and_builds_the_mask_again(mask):
    assert build_mask(json.loads(json.dumps(mask_config(mask)))) == mask
    assert build_mask(mask) is mask


def test_none_is_all_pass():
    assert build_mask(None) == AllPass()


def test_weights_are_kept_and_usable_after_inference_mode():
    with torch.inference_mode():
        weights = mask_weights(LowPass(0.3), 10, 11)
    assert mask_weights(LowPass(0.3), 10, 11) is weights
    x = torch.ones_like(weights).requires_grad_()
    (x * weights).sum().backward()


@pytest.mark.parametrize(
    ("cfg", "rule"),
    [
        (dict(type="Lowpass"), "unknown mask type, got 'Lowpass'; did you mean 'LowPass'"),
        (dict(type="LowPass", cutof=0.3), "unknown key of mask LowPass.*did you mean 'cutoff'"),
        (dict(cutoff=0.3), "a mask must be dict"),
        ("LowPass", "a mask must be dict"),
        (dict(type="LowPass", cutoff=0.0), "cutoff must be a number"),
        (dict(type="LowPass", cutoff=1.1), "cutoff must be a number"),
        (dict(type="LowPass", cutoff="0.5"), "cutoff must be a number"),
        (dict(type="HighPass", cutoff=-0.1), "cutoff must be a number"),
        (dict(type="HighPass", cutoff=float("nan")), "cutoff must be a number"),
        (dict(type="HighPass", soft=2.0), "soft must be a number"),
        (dict(type="BandPass", low=0.2, high=1.4), "use high=1.0 for an open top"),
        (dict(type="BandPass", low=0.6, high=0.2), r"high must be in \(low, 1\].*exchange"),
        (dict(type="Gaussian", width=0), "width must be a number"),
        (dict(type="Gaussian", center=2), "center must be a number"),
        (dict(type="RadialKnots"), "mask RadialKnots needs weights"),
        (dict(type="RadialKnots", weights=[]), "weights must be a non-empty list"),
        (dict(type="RadialKnots", weights=[0, 0]), "weights must not all be 0"),
        (dict(type="RadialKnots", weights=[1, -1]), "each of weights must be a number"),
        (dict(type="RadialKnots", weights=[1, 2], knots=[0.5, 0.5]), "2 increasing numbers"),
        (dict(type="RadialKnots", weights=[1, 2], knots=[0.5]), "2 increasing numbers"),
        (dict(type="OrientationSectors", weights=1.0), "weights must be a non-empty list"),
        (dict(type="Product", masks=[]), "at least one mask"),
        (dict(type="Product", masks=dict(type="LowPass")), "masks must be a list"),
        (dict(type="Product", masks=[dict(type="Gaus")]), "did you mean 'Gaussian'"),
    ],
)
def test_bad_configs(cfg, rule):
    with pytest.raises(ConfigError, match=rule):
        build_mask(cfg)


def test_a_mask_that_passes_nothing_at_this_size_says_so():
    with pytest.raises(ConfigError, match="no frequency of a 4 x 4 map"):
        mask_weights(BandPass(0.1, 0.2, soft=0.0), 4, 4)
    assert mask_weights(BandPass(0.1, 0.2, soft=0.0), 32, 32).sum() > 0
