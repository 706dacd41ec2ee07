"""In flow PASCAL-VOC XML files and images, out flows COCO JSON; errors name file and line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

from fourierkd.data.images import StrPath, labelled_size
from fourierkd.data.left_out import image_suffixes, left_out
from fourierkd.errors import DataError, near
from fourierkd.run_dir import write_atomic


def voc_to_coco(
    annotations_dir: StrPath,
    images_dir: StrPath,
    out_json: StrPath,
    *,
    classes: Sequence[str] | None = None,
    names_file: StrPath | None = None,
    zero_based: bool = False,
) -> dict[str, Any]:
    """Convert PASCAL-VOC annotations to COCO and return what was written.

    A ``difficult`` object becomes ``iscrowd`` 1: neither a hit nor a miss counts, as in VOC.

    Args:
        annotations_dir: folder of ``*.xml``; each names its image in ``<filename>``.
        images_dir: folder of those images.
        out_json: file to write, replaced as a whole.
        classes: names in the order of the category ids 1..K; None takes all that occur, sorted.
        names_file: as VOC's ``ImageSets/Main/train.txt``: the XML files to take, without suffix,
            first word of each line; None takes all.
        zero_based: boxes count pixels from 0 and end before xmax, ymax; else VOC's own convention,
            from 1 with xmax, ymax inside the box.

    Raises:
        DataError: a missing file or folder, malformed XML, a missing tag, a size that is not the
            image's, a box that is empty or outside the image, a class not in ``classes``.
    """
    known = None if classes is None else list(classes)
    if known is not None and (not known or len(set(known)) != len(known)):
        raise DataError("classes must be different names, at least one", value=known)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    first_use: dict[str, Path] = {}
    for path in _annotation_files(Path(annotations_dir), names_file):
        root = parse_xml(path)
        image = _image(root, path, Path(images_dir))
        name = image["file_name"]
        if name in first_use:
            raise DataError(
                f"{path}:{root.line}: an image has one annotation file",
                value=name,
                fix=f"it is annotated in {first_use[name]} too",
            )
        first_use[name] = path
        images.append({"id": len(images) + 1, **image})
        for node in root.all("object"):
            found = _object(node, path, image, zero_based=zero_based)
            if known is not None and found["class"] not in known:
                raise DataError(
                    f"{path}:{node.line}: an object's class must be one of the classes",
                    value=found["class"],
                    fix=near(found["class"], known),
                )
            objects.append({"id": len(objects) + 1, "image_id": len(images), **found})
    if known is None:
        known = sorted({entry["class"] for entry in objects})
    for entry in objects:
        entry["category_id"] = known.index(entry.pop("class")) + 1
    coco = {
        "images": images,
        "annotations": objects,
        "categories": [{"id": k, "name": name} for k, name in enumerate(known, start=1)],
    }
    write_atomic(Path(out_json), json.dumps(coco) + "\n")
    return coco


def voc_left_out(
    annotations_dir: StrPath, images_dir: StrPath, coco: dict[str, Any]
) -> dict[str, list[str]]:
    """What a conversion of all files left out: folder -> counts, of the annotations and images.

    Args:
        coco: what ``voc_to_coco`` gave without ``names_file``.
    """
    found = left_out(annotations_dir, Path(annotations_dir).glob("*.xml"), (".xml",))
    taken = (Path(images_dir) / image["file_name"] for image in coco["images"])
    images = left_out(images_dir, taken, image_suffixes())
    return {
        f"annotations in {annotations_dir}": found,
        f"images without annotation in {images_dir}": images,
    }


@dataclass
class Node:
    """An XML element that knows its line."""

    tag: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str) -> list[Node]:
        """The direct children called ``tag``."""
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str, path: Path) -> Node:
        """The only child called ``tag``; else a DataError with file and line."""
        found = self.all(tag)
        if len(found) != 1:
            raise DataError(
                f"{path}:{self.line}: <{self.tag}> must hold one <{tag}>",
                value=len(found),
                fix="correct the file",
            )
        return found[0]

    def number(self, path: Path) -> float:
        """The text as a finite number."""
        try:
            value = float(self.text)
            if abs(value) == float("inf") or value != value:
                raise ValueError
        except ValueError:
            raise DataError(
                f"{path}:{self.line}: <{self.tag}> must be a number",
                value=self.text.strip(),
                fix="correct the file",
            ) from None
        return value


def parse_xml(path: Path) -> Node:
    """The root element of an XML file (expat is used since ElementTree does not keep lines).

    Raises:
        DataError: malformed XML, with file and line.
    """
    top = Node("", 0)
    stack = [top]
    parser = expat.ParserCreate()

    def start(tag: str, _: dict[str, str]) -> None:
        node = Node(tag, parser.CurrentLineNumber)
        stack[-1].children.append(node)
        stack.append(node)

    def characters(text: str) -> None:
        stack[-1].text += text

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: stack.pop()
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise DataError(
            f"{path}:{error.lineno}: the file must be well-formed XML "
            f"({expat.ErrorString(error.code)}, column {error.offset + 1})",
            fix="correct the file",
        ) from error
    return top.children[0]


def _annotation_files(folder: Path, names_file: StrPath | None) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            "the annotations' folder must exist", value=str(folder), fix="check the path"
        )
    if names_file is None:
        files = sorted(folder.glob("*.xml"))
    else:
        files = []
        try:
            lines = Path(names_file).read_text().splitlines()
        except FileNotFoundError:
            raise DataError(
                "the list of names must exist", value=str(names_file), fix="check the path"
            ) from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                files.append(folder / f"{line.split()[0]}.xml")
                if not files[-1].is_file():
                    raise DataError(
                        f"{names_file}:{number}: a listed name must have an XML file",
                        value=str(files[-1]),
                        fix="correct the list",
                    )
    if not files:
        raise DataError(
            "there must be XML files to convert", value=str(folder), fix="check the path"
        )
    return files


def _image(root: Node, path: Path, images_dir: Path) -> dict[str, Any]:
    """COCO fields of the image, whose own size must be the one that the file states."""
    if root.tag != "annotation":
        raise DataError(
            f"{path}:{root.line}: a VOC file's root must be <annotation>",
            value=root.tag,
            fix="is it another format?",
        )
    name_node, size = root.one("filename", path), root.one("size", path)
    name = name_node.text.strip()
    image_path = images_dir / name
    if not name or not image_path.is_file():
        raise DataError(
            f"{path}:{name_node.line}: <filename> must be an image in the images' folder",
            value=str(image_path),
            fix="check the folder and the suffix",
        )
    stated = [size.one(tag, path).number(path) for tag in ("width", "height")]
    width, height = labelled_size(image_path, (int(stated[0]), int(stated[1])))
    if stated != [width, height]:
        raise DataError(
            f"{path}:{size.line}: <size> must be the image's, {width}x{height}",
            value="x".join(f"{value:g}" for value in stated),
            fix="correct the file",
        )
    return {"file_name": name, "width": width, "height": height}


def _object(node: Node, path: Path, image: dict[str, Any], *, zero_based: bool) -> dict[str, Any]:
    """COCO fields of an object, and its class name under ``class``."""
    name = node.one("name", path).text.strip()
    if not name:
        raise DataError(
            f"{path}:{node.line}: an object's <name> must not be empty", fix="correct it"
        )
    box = node.one("bndbox", path)
    left, top, right, bottom = (
        box.one(tag, path).number(path) for tag in ("xmin", "ymin", "xmax", "ymax")
    )
    shown = f"({left:g}, {top:g}, {right:g}, {bottom:g})"
    if not zero_based:
        left, top = left - 1, top - 1
    if right <= left or bottom <= top:
        raise DataError(
            f"{path}:{box.line}: a box (xmin, ymin, xmax, ymax) must have width and height",
            value=shown,
            fix="correct the file",
        )
    if left < 0 or top < 0 or right > image["width"] or bottom > image["height"]:
        first, convention = (0, "from 0") if zero_based else (1, "VOC's, from 1")
        raise DataError(
            f"{path}:{box.line}: a box (xmin, ymin, xmax, ymax; counted {convention}) "
            f"must lie in the image, {first} to {image['width']} and {first} to {image['height']}",
            value=shown,
            fix="correct the file" if zero_based else "correct it, or convert with zero_based",
        )
    difficult = node.all("difficult")
    return {
        "class": name,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": int(bool(difficult) and difficult[0].number(path) != 0),
        "segmentation": [],
    }
