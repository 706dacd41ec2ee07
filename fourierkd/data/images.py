"""In flow image paths, out flow decoded images: an unreadable one is an error with its name.

mmcv turns an image by its EXIF orientation when it loads it, whatever the format; masks and boxes
stay as they are. ``Header`` has both sizes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from fourierkd.errors import DataError

StrPath = str | os.PathLike[str]
DEEP_MODES = ("I", "F")
SWAPPED = (5, 6, 7, 8)  # orientations that exchange width and height
UNTURN = (
    "where the labels lie on the image as it is seen, turn its pixels (mogrify -auto-orient); "
    "where they lie on the pixels as stored, remove the tag (exiftool -Orientation=)"
)


class Header(NamedTuple):
    """What a file says before its pixels.

    Attributes:
        stored: (width, height) of the pixels in the file.
        orientation: the EXIF tag, 1 where there is none: not turned.
        deep: more than 8 bits a channel.
    """

    stored: tuple[int, int]
    orientation: int
    deep: bool

    @property
    def loaded(self) -> tuple[int, int]:
        """(width, height) as mmcv loads it."""
        width, height = self.stored
        return (height, width) if self.orientation in SWAPPED else (width, height)


def read_header(path: StrPath) -> Header:
    """Size, orientation and depth of the image at ``path``, without its pixels.

    Raises:
        DataError: it is missing or no image.
    """
    with _opened(path) as picture:
        modes = [picture.mode]
        for tile in getattr(picture, "tile", ()):  # Pillow's mode of 16-bit colours is RGB
            arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
            modes += [text for text in arguments if isinstance(text, str)]
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        width, height = picture.size
        if picture.format == "TIFF" and orientation in SWAPPED:  # which Pillow has turned already
            width, height = height, width
        return Header(
            (width, height),
            orientation if orientation in range(2, 9) else 1,
            any(is_deep(mode) for mode in modes),
        )


def is_deep(mode: str) -> bool:
    """Whether a mode of Pillow's has more than 8 bits a channel: ``I;16``, ``RGB;16B``, ``F``."""
    name, _, bits = mode.partition(";")
    return mode in DEEP_MODES or (bits[:2] in ("16", "32") and name != "BGR")  # BGR;16 is 5-6-5


def read_image(path: StrPath) -> Image.Image:
    """The decoded image at ``path``, its pixels as stored.

    Raises:
        DataError: it is missing, cut short, or no image.
    """
    with _opened(path) as picture:
        picture.load()
        return picture


def labelled_size(path: StrPath, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image, decoded, whose labels are for ``size``: as mmcv loads it.

    Raises:
        DataError: it is missing, cut short or no image; or it has an EXIF orientation and ``size``
            does not tell that the labels lie on the turned image.
    """
    header = read_header(path)
    read_image(path)
    if header.orientation != 1 and not (size == header.loaded != header.stored):
        raise DataError(
            "an image must not be turned by an EXIF orientation, which its labels do not follow",
            value=f"orientation {header.orientation} of {path}",
            fix=UNTURN,
        )
    return header.loaded


@contextmanager
def _opened(path: StrPath) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except FileNotFoundError as error:
        raise DataError("an image must exist", value=str(path), fix="check the path") from error
    # Pillow's decoders answer damaged bytes with SyntaxError and ValueError too
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(
            f"an image must be readable ({reason})",
            value=str(path),
            fix="restore or remove the file",
        ) from error
