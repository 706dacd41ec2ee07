"""Image files against the sizes of their labels: in flow pairs, out flow findings about files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fourierkd.data.findings import Checked, Data, Depth, sample
from fourierkd.data.images import UNTURN, Header, read_header, read_image
from fourierkd.errors import DataError

NOT_TURNED = ("unchanged", "color_ignore_orientation", "grayscale_ignore_orientation")
Labelled = tuple[Path, tuple[int, int] | Path]  # an image, and the size or the mask of its labels


def check_pictures(
    pairs: Sequence[Labelled], data: Data, checked: Checked, depth: Depth
) -> set[Path]:
    """Read the heads of images (and masks), decode some images: sizes, EXIF orientation, depth.

    Returns:
        The images with an unreadable file of theirs.
    """
    heads = sample(len(pairs), len(pairs) if depth.headers is None else depth.headers)
    decoded = set(sample(len(pairs), depth.pixels))
    masked = any(isinstance(labels, Path) for _, labels in pairs)
    found, lost = _Found(data, masked), set()
    for position in sorted({*heads, *decoded}):
        path, labels = pairs[position]
        try:
            header = read_header(path)
            size = read_header(labels).stored if isinstance(labels, Path) else labels
            if position in decoded:
                read_image(path)
        except DataError as error:
            lost.add(path)
            found.unreadable.append(f"{error.value}: {error.rule}")
            continue
        checked.opened += position in decoded
        found.compare(path, header, size)
    found.tell(checked)
    checked.looked.append(f"size, EXIF orientation and depth of {len(heads)} images")
    if depth.pixels:
        checked.looked.append(f"the pixels of {checked.opened} images")
    return lost


class _Found:
    """Examples of each fault."""

    def __init__(self, data: Data, masked: bool) -> None:
        self.masked, self.of = masked, "its mask" if masked else "annotated"
        kind, backend = data.loader.get("color_type", "color"), data.loader.get("imdecode_backend")
        self.turns = kind not in NOT_TURNED and backend not in ("turbojpeg", "tifffile")
        self.narrows = kind != "unchanged" and backend != "tifffile"
        self.unreadable: list[str] = []
        self.deep: list[str] = []
        self.turned: list[str] = []  # and the labels are not, or nothing tells
        self.contradicted = False
        self.follow: list[str] = []  # labels that lie on the turned image
        self.sizes: list[str] = []

    def compare(self, path: Path, header: Header, size: tuple[int, int]) -> None:
        """Sort one image in, whose labels are for ``size``."""
        if self.narrows and header.deep:
            self.deep.append(str(path))
        loaded = header.loaded if self.turns else header.stored
        if header.orientation == 1 or not self.turns:
            if size != loaded:
                self.sizes.append(f"{path}: {loaded}, {self.of} {size}")
        elif size == loaded != header.stored:
            self.follow.append(str(path))
        else:
            self.turned.append(f"{path}: orientation {header.orientation}, {self.of} {size}")
            self.contradicted |= size != loaded

    def tell(self, checked: Checked) -> None:
        """Make findings of them."""
        readable = "an image and its mask" if self.masked else "an image"
        checked.add(f"{readable} must be readable", self.unreadable, "restore the file")
        size = "a mask must have its image's" if self.masked else "an image must have its annotated"
        checked.add(f"{size} size (width, height)", self.sizes, refused=True)
        checked.add(
            "an image must not be turned by an EXIF orientation when it is loaded, which its "
            "labels do not follow",
            self.turned,
            fix=UNTURN,
            refused=self.contradicted,
        )
        checked.add(
            "images that an EXIF orientation turns, and labels of the turned size",
            self.follow,
            fault=False,
        )
        checked.add(
            "an image must have 8 bits a channel: deeper ones are loaded as value/256",
            self.deep,
            fix="convert it with the range that is meant",
        )
