"""In flow image paths, out flow decoded images: an unreadable one is an error with its name."""

from __future__ import annotations

import os
from collections.abc import Iterable

from PIL import Image, UnidentifiedImageError

from fourierkd.errors import DataError

StrPath = str | os.PathLike[str]


def read_image(path: StrPath) -> Image.Image:
    """The decoded image at ``path``.

    Raises:
        DataError: it is missing, cut short, or no image.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
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


def check_images(paths: Iterable[StrPath]) -> int:
    """Decode all images and return how many; DataError names the first unreadable one."""
    count = 0
    for path in paths:
        read_image(path)
        count += 1
    return count
