"""Spectral Shapes: the drawing carries what its labels say, and depends on the spec alone."""

from __future__ import annotations

import numpy as np
import pytest

from fourierkd.data.shapes import (
    CLASSES,
    OUTLINES,
    PALETTE,
    SPLITS,
    Sample,
    ShapesSpec,
    class_names,
    draw_sample,
    palette,
)
from fourierkd.errors import ConfigError

CLEAN = {"noise": (0, 0), "background_amplitude": (0, 0), "count": (1, 1), "radius": (16, 16)}


def peak(sample: Sample) -> tuple[float, float]:
    """Frequency (cycles per pixel) and direction (degrees in [0, 180)) of the object's wave."""
    inside = sample.owner == 1
    grey = sample.image.mean(-1)
    patch = np.where(inside, grey - grey[inside].mean(), 0)
    size = 512  # zero padding refines the grid of frequencies
    power = np.abs(np.fft.fft2(patch, (size, size))) ** 2
    row, column = np.unravel_index(power.argmax(), power.shape)
    fx, fy = np.fft.fftfreq(size)[column], np.fft.fftfreq(size)[row]
    return float(np.hypot(fx, fy)), float(np.degrees(np.arctan2(fy, fx)) % 180)


def test_same_seed_same_image_whatever_was_drawn_before() -> None:
    spec = ShapesSpec(seed=3)
    first = draw_sample(spec, "val", 5)
    draw_sample(spec, "train", 0)
    again = draw_sample(ShapesSpec(seed=3, size=17), "val", 5)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)


def test_seed_split_and_index_each_change_the_image() -> None:
    pictures = [
        draw_sample(ShapesSpec(seed=seed), split, index).image
        for seed, split, index in [(0, "train", 0), (1, "train", 0), (0, "val", 0), (0, "train", 1)]
    ]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert not np.array_equal(one, other)


def test_texture_has_the_frequency_and_orientation_of_its_label() -> None:
    spec = ShapesSpec(
        frequencies=(0.09, 0.22), orientations=(0, 90), orientation_jitter=0, contrast=(0.2, 0.2),
        **CLEAN,
    )  # fmt: skip
    names, seen = class_names(spec), set()
    for index in range(40):
        sample = draw_sample(spec, "train", index)
        (label,) = sample.object_labels
        _, frequency, orientation = names[label].split("_")
        seen.add((frequency, orientation))
        found, angle = peak(sample)
        assert found == pytest.approx(float(frequency[1:]), abs=0.012)
        difference = abs(angle - float(orientation[:-3]))
        assert min(difference, 180 - difference) < 8
    assert len(seen) == 4


def test_outline_matches_its_label_and_all_outlines_have_one_area() -> None:
    spec = ShapesSpec(image_size=96, **CLEAN)
    found: dict[str, list[float]] = {name: [] for name in OUTLINES}
    for index in range(60):
        sample = draw_sample(spec, "train", index)
        inside = sample.owner == 1
        if inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any():
            continue  # cut by the border
        y, x = np.nonzero(inside)
        spread = np.hypot(x - x.mean(), y - y.mean()).max()
        assert inside.sum() == pytest.approx(np.pi * 16**2, rel=0.03)
        found[CLASSES[sample.object_labels[0]].split("_")[0]].append(float(spread / 16))
    # distance of the furthest corner over the radius of the disc of that area
    expected = {"disc": 1.0, "square": np.sqrt(np.pi / 2), "triangle": 1.555}
    for name, values in found.items():
        assert len(values) >= 3
        assert np.mean(values) == pytest.approx(expected[name], abs=0.08)


def test_background_amplitude_falls_as_one_over_f_to_the_b() -> None:
    for exponent in (0.5, 1.5):
        spec = ShapesSpec(
            count=(0, 0), noise=(0, 0), background_exponent=(exponent, exponent),
            background_amplitude=(0.08, 0.08), image_size=128,
        )  # fmt: skip
        power: np.ndarray = np.zeros((128, 128))
        for index in range(8):
            grey = draw_sample(spec, "train", index).image.mean(-1)
            power += np.abs(np.fft.fft2(grey - grey.mean())) ** 2
        frequency = np.fft.fftfreq(128)
        radius = np.hypot(frequency[:, None], frequency)
        band = (radius > 0.02) & (radius < 0.4)
        slope = np.polyfit(np.log(radius[band]), np.log(np.sqrt(power[band])), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.1)


def test_later_objects_lie_on_top_and_labels_follow_owners() -> None:
    spec = ShapesSpec(count=(5, 5), radius=(14, 20))
    hidden = 0
    for index in range(10):
        sample = draw_sample(spec, "train", index)
        expected = np.array((0, *sample.object_labels))[sample.owner]
        assert np.array_equal(sample.labels, expected)
        visible = [int((sample.owner == k + 1).sum()) for k in range(5)]
        assert visible[-1] == sample.object_areas[-1] > 0
        assert all(seen <= full for seen, full in zip(visible, sample.object_areas, strict=True))
        hidden += sum(sample.object_areas) - sum(visible)
    assert hidden > 0  # there are overlaps at all


def test_mask_is_aligned_with_the_image() -> None:
    spec = ShapesSpec(
        colour=(0.95, 0.95), contrast=(0, 0), noise=(0, 0), background_amplitude=(0, 0)
    )
    sample = draw_sample(spec, "train", 0)
    bright = sample.image.min(-1) > 255 * 0.9
    assert bright.any()
    edge = (sample.labels > 0) ^ bright
    assert edge.sum() < 0.12 * bright.sum()  # the half-covered pixels of the soft edge alone
    assert not bright[sample.labels == 0].any()


def test_noise_and_contrast_are_what_the_spec_says() -> None:
    flat = {"count": (0, 0), "background_amplitude": (0, 0)}
    grey = draw_sample(ShapesSpec(noise=(0.05, 0.05), **flat), "train", 0).image
    assert (grey / 255).std(axis=(0, 1)).mean() == pytest.approx(0.05, rel=0.05)
    sample = draw_sample(
        ShapesSpec(contrast=(0.2, 0.2), colour=(0.5, 0.5), frequencies=(0.2,), **CLEAN), "train", 0
    )
    inside = sample.image[sample.owner == 1].mean(-1) / 255
    assert inside.std() == pytest.approx(0.2 / np.sqrt(2), rel=0.1)


def test_class_names_and_palette_are_one_list() -> None:
    spec = ShapesSpec(outlines=["disc", "triangle"], frequencies=[0.1, 0.2], orientations=[0, 90])
    assert class_names(spec) == (
        "background",
        "disc_f0.1_0deg", "disc_f0.1_90deg", "disc_f0.2_0deg", "disc_f0.2_90deg",
        "triangle_f0.1_0deg", "triangle_f0.1_90deg", "triangle_f0.2_0deg", "triangle_f0.2_90deg",
    )  # fmt: skip
    assert len(palette(spec)) == len(set(palette(spec))) == 9
    assert len(CLASSES) == len(PALETTE) == 7
    labels = {k for i in range(60) for k in draw_sample(spec, "train", i).object_labels}
    assert labels == set(range(1, 9))


def test_split_sizes_default_to_a_quarter() -> None:
    spec = ShapesSpec(size=40, test_size=3)
    assert [spec.split_size(split) for split in SPLITS] == [40, 10, 3]
    assert ShapesSpec(size=1).val_size == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"size": 0}, "size must be a whole number from 1"),
        ({"size": True}, "size must be a whole number"),
        ({"image_size": 8}, "image_size must be a whole number from 16"),
        ({"outlines": ["disk"]}, "did you mean 'disc'"),
        ({"outlines": ["disc", "disc"]}, "outlines must be a list of different values"),
        ({"outlines": []}, "1 to 254 classes"),
        ({"frequencies": [0.5]}, r"frequencies must be in \(0, 0.5\)"),
        ({"frequencies": ["a"]}, "frequencies must be in"),
        ({"orientations": [180]}, "orientations must be in"),
        ({"count": [3, 2]}, "low <= high"),
        ({"count": [1.5, 2]}, "count must be a whole number"),
        ({"noise": 0.1}, "noise must be a pair"),
        ({"noise": [0, 1.5]}, r"noise must be in \[0, 1\]"),
        ({"noise": [0, float("nan")]}, r"noise must be in \[0, 1\]"),
        ({"radius": [1, 5]}, r"radius must be in \[2, 64\]"),
        ({"min_visible": 2}, "min_visible must be in"),
        ({"contrats": [0, 1]}, "did you mean 'contrast'"),
    ],
)
def test_bad_parameter_is_named(parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShapesSpec.from_dict(parameters)
