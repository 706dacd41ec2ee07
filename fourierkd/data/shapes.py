"""Spectral Shapes: in flow a spec and an image number, out flow the image, labels and objects.

Background: noise whose amplitude spectrum falls as 1/f^b, as in natural images. On it lie
overlapping objects; the class of an object is its outline (a low-frequency cue) together with the
frequency and, if asked for, the orientation of its sine texture (a band of its own). Contrast,
colour, scale and noise are random and tell nothing. Every image has its own random generator, so
it does not depend on the order of drawing.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourierkd.errors import ConfigError, near

SPLITS = ("train", "val", "test")
Floats = NDArray[np.float64]


def _disc(u: Floats, v: Floats, radius: float) -> Floats:
    return np.hypot(u, v) - radius


def _square(u: Floats, v: Floats, radius: float) -> Floats:
    return np.maximum(np.abs(u), np.abs(v)) - radius * math.sqrt(math.pi) / 2


def _triangle(u: Floats, v: Floats, radius: float) -> Floats:
    inner = radius * math.sqrt(math.pi / (3 * math.sqrt(3)))  # apothem at the area of the disc
    slope = math.sqrt(3) / 2
    return np.maximum(np.maximum(v, slope * u - v / 2), -slope * u - v / 2) - inner


# Distance to the outline in pixels, negative inside. All outlines of one radius have the same area,
# so that size says nothing about the class.
OUTLINES: dict[str, Callable[[Floats, Floats, float], Floats]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
}


@dataclass(frozen=True, kw_only=True)
class ShapesSpec:
    """Everything that decides the images. Pairs are (low, high) of a uniform draw, ends included.

    Args:
        seed: >= 0; another seed gives other images of the same distribution.
        size: number of training images, >= 1.
        val_size, test_size: images of those splits; 0 means ``max(1, size // 4)``.
        image_size: height and width in pixels, 16 to 2048.
        outlines: names out of ``OUTLINES``.
        frequencies: of the texture in cycles per pixel, in (0, 0.5).
        orientations: of the texture's wave vector in degrees in [0, 180), 0 along x, 90 along y.
            Part of the class where given (0 and 90 survive flips); with none, it is random.
        frequency_jitter: relative, uniform in +-jitter, in [0, 0.5].
        orientation_jitter: degrees, uniform in +-jitter, in [0, 45].
        count: objects per image, 0 to 64.
        radius: of the disc of the object's area, in pixels, 2 to ``image_size``.
        contrast: amplitude of the texture, in [0, 1] (images span [0, 1] and are clipped to it).
        colour: of an object, per channel, in [0, 1].
        noise: standard deviation of white noise per image, in [0, 1].
        background_exponent: b of the amplitude spectrum 1/f^b, in [0, 4].
        background_amplitude: standard deviation of the background, in [0, 1].
        min_visible: an object with a smaller share of its pixels in sight is left out of the COCO
            annotations (not of the mask), in [0, 1].

    Raises:
        ConfigError: a value outside its range.
    """

    seed: int = 0
    size: int = 400
    val_size: int = 0
    test_size: int = 0
    image_size: int = 64
    outlines: tuple[str, ...] = ("disc", "square", "triangle")
    frequencies: tuple[float, ...] = (0.09, 0.22)
    orientations: tuple[float, ...] = ()
    frequency_jitter: float = 0.0
    orientation_jitter: float = 10.0
    count: tuple[int, int] = (2, 3)
    radius: tuple[float, float] = (10.0, 18.0)
    contrast: tuple[float, float] = (0.25, 0.5)
    colour: tuple[float, float] = (0.25, 0.75)
    noise: tuple[float, float] = (0.02, 0.08)
    background_exponent: tuple[float, float] = (0.8, 1.2)
    background_amplitude: tuple[float, float] = (0.08, 0.16)
    min_visible: float = 0.2

    def __post_init__(self) -> None:
        for name in ("outlines", "frequencies", "orientations"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)) or len(set(value)) != len(value):
                raise ConfigError(f"{name} must be a list of different values", value=value)
            object.__setattr__(self, name, tuple(value))
        _whole("seed", self.seed, 0, 2**63 - 1)
        _whole("size", self.size, 1, 1_000_000)
        for name in ("val_size", "test_size"):
            _whole(name, getattr(self, name), 0, 1_000_000)
            object.__setattr__(self, name, getattr(self, name) or max(1, self.size // 4))
        _whole("image_size", self.image_size, 16, 2048)
        self._check_classes()
        _real("frequency_jitter", self.frequency_jitter, 0, 0.5)
        _real("orientation_jitter", self.orientation_jitter, 0, 45, "degrees")
        self._pair("count", 0, 64, whole=True)
        self._pair("radius", 2, self.image_size, unit="pixels")
        for name in ("contrast", "colour", "noise", "background_amplitude"):
            self._pair(name, 0, 1)
        self._pair("background_exponent", 0, 4)
        _real("min_visible", self.min_visible, 0, 1)

    def _check_classes(self) -> None:
        """What the classes are made of, and how many they are."""
        for outline in self.outlines:
            if outline not in OUTLINES:
                raise ConfigError(
                    "outlines must be known names", value=outline, fix=near(str(outline), OUTLINES)
                )
        for frequency in self.frequencies:
            _real("frequencies", frequency, 0, 0.5, "cycles per pixel, ends excluded")
            if not 0 < frequency < 0.5:
                raise ConfigError(
                    "frequencies must be in (0, 0.5) cycles per pixel", value=frequency
                )
        for orientation in self.orientations:
            _real("orientations", orientation, 0, math.nextafter(180, 0), "degrees, 180 excluded")
        if not 1 <= len(class_names(self)) - 1 <= 254:
            raise ConfigError(
                "outlines x frequencies x orientations must give 1 to 254 classes",
                value=len(class_names(self)) - 1,
            )

    def _pair(
        self, name: str, low: float, high: float, *, whole: bool = False, unit: str = ""
    ) -> None:
        value = getattr(self, name)
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ConfigError(f"{name} must be a pair (low, high)", value=value)
        for end in value:
            if whole:
                _whole(name, end, int(low), int(high))
            else:
                _real(name, end, low, high, unit)
        if value[0] > value[1]:
            raise ConfigError(f"{name} must be (low, high) with low <= high", value=value)
        object.__setattr__(self, name, tuple(value))

    @classmethod
    def from_dict(cls, parameters: dict[str, Any]) -> ShapesSpec:
        """A spec from a config's plain values; an unknown key is a ConfigError with near names."""
        known = [field.name for field in fields(cls)]
        for name in parameters:
            if name not in known:
                raise ConfigError(
                    "Spectral Shapes has no such parameter", value=name, fix=near(name, known)
                )
        return cls(**parameters)

    def split_size(self, split: str) -> int:
        """Number of images of ``train``, ``val`` or ``test``."""
        return {"train": self.size, "val": self.val_size, "test": self.test_size}[split]


def _whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} must be a whole number from {low} to {high}", value=value)


def _real(name: str, value: Any, low: float, high: float, unit: str = "") -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        shown = f"[{low:g}, {high:g}]" + (f" ({unit})" if unit else "")
        raise ConfigError(f"{name} must be in {shown}", value=value)


def class_names(spec: ShapesSpec) -> tuple[str, ...]:
    """``background``, then one name for each outline x frequency x orientation.

    The index is the label in the masks and the category id in the COCO files.
    """
    names = ["background"]
    for outline in spec.outlines:
        for frequency in spec.frequencies:
            stem = f"{outline}_f{frequency:g}"
            names += [f"{stem}_{angle:g}deg" for angle in spec.orientations] or [stem]
    return tuple(names)


def palette(spec: ShapesSpec) -> tuple[tuple[int, int, int], ...]:
    """One RGB colour (0 to 255) for each of ``class_names``: black, then around the hue circle."""
    count = len(class_names(spec)) - 1
    colours = [(0, 0, 0)]
    for k in range(count):
        red, green, blue = colorsys.hsv_to_rgb(k / count, 0.85, 0.95 if k % 2 == 0 else 0.6)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(colours)


@dataclass(frozen=True)
class Sample:
    """One drawn image.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8, 0 background, else index into ``class_names``.
        owner: (H, W) uint8, 0 background, else 1 + index of the object seen there.
        object_labels: label of every object drawn, first drawn lies lowest.
        object_areas: pixels of each object inside the image, hidden ones included.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    object_labels: tuple[int, ...]
    object_areas: tuple[int, ...]


def draw_sample(spec: ShapesSpec, split: str, index: int) -> Sample:
    """Draw image ``index`` of ``split``: a function of the spec and these two alone."""
    rng = np.random.default_rng([spec.seed, SPLITS.index(split), index])
    side = spec.image_size
    image = _background(spec, rng)  # (3, H, W)
    labels = np.zeros((side, side), np.uint8)
    owner = np.zeros((side, side), np.uint8)
    object_labels, object_areas = [], []
    y, x = np.mgrid[:side, :side].astype(np.float64)
    for number in range(1, int(rng.integers(*spec.count, endpoint=True)) + 1):
        outline = int(rng.integers(len(spec.outlines)))
        centre_x, centre_y = rng.uniform(side / 8, side * 7 / 8, 2)
        turn = rng.uniform(0, 2 * math.pi)
        u = (x - centre_x) * math.cos(turn) + (y - centre_y) * math.sin(turn)
        v = (y - centre_y) * math.cos(turn) - (x - centre_x) * math.sin(turn)
        distance = OUTLINES[spec.outlines[outline]](u, v, rng.uniform(*spec.radius))
        texture, wave = _texture(spec, rng, x, y)
        colour = rng.uniform(*spec.colour, 3)[:, None, None]  # (3, 1, 1)
        cover = np.clip(0.5 - distance, 0, 1)  # an edge one pixel soft, as a lens gives it
        image += cover * (colour + wave - image)
        inside = distance < 0
        textures = len(spec.frequencies) * max(1, len(spec.orientations))
        label = 1 + outline * textures + texture
        labels[inside], owner[inside] = label, number
        object_labels.append(label)
        object_areas.append(int(inside.sum()))
    image += rng.normal(0, rng.uniform(*spec.noise), image.shape)
    pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8).transpose(1, 2, 0)  # (H, W, 3)
    return Sample(
        np.ascontiguousarray(pixels), labels, owner, tuple(object_labels), tuple(object_areas)
    )


def _background(spec: ShapesSpec, rng: np.random.Generator) -> Floats:
    """(3, H, W): one field with amplitude spectrum 1/f^b, with a gain and an offset per channel."""
    side = spec.image_size
    fx, fy = np.fft.rfftfreq(side), np.fft.fftfreq(side)[:, None]
    radius = np.hypot(fx, fy)  # (H, W // 2 + 1), cycles per pixel
    radius[0, 0] = np.inf  # no power at DC: the offsets set the mean
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) / radius ** rng.uniform(
        *spec.background_exponent
    )
    field = np.fft.irfft2(spectrum, s=(side, side))
    field *= rng.uniform(*spec.background_amplitude) / field.std()
    gain, offset = rng.uniform(0.6, 1.4, 3), rng.uniform(0.35, 0.65, 3)
    return offset[:, None, None] + gain[:, None, None] * field


def _texture(
    spec: ShapesSpec, rng: np.random.Generator, x: Floats, y: Floats
) -> tuple[int, Floats]:
    """Texture class, and its wave ``c sin(2 pi f (x cos o + y sin o) + phase)``, (H, W)."""
    band = int(rng.integers(len(spec.frequencies)))
    frequency = spec.frequencies[band] * (1 + spec.frequency_jitter * rng.uniform(-1, 1))
    if spec.orientations:
        direction = int(rng.integers(len(spec.orientations)))
        degrees = spec.orientations[direction] + spec.orientation_jitter * rng.uniform(-1, 1)
        angle, texture = math.radians(degrees), band * len(spec.orientations) + direction
    else:
        angle, texture = rng.uniform(0, math.pi), band
    across = x * math.cos(angle) + y * math.sin(angle)
    wave = np.sin(2 * math.pi * frequency * across + rng.uniform(0, 2 * math.pi))
    return texture, rng.uniform(*spec.contrast) * wave


CLASSES = class_names(ShapesSpec())
PALETTE = palette(ShapesSpec())
