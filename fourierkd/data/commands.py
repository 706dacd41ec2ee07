"""``fourierkd data ...``: in flow arguments, out flow data folders; the work is imported late."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fourierkd.options import add_options

# Options of `data shapes` beyond --out: field of ShapesSpec, type, number of values, help.
SHAPES_OPTIONS: tuple[tuple[str, type, int | str | None, str], ...] = (
    ("seed", int, None, "the images are a function of it"),
    ("size", int, None, "training images"),
    ("val_size", int, None, "validation images; default a quarter of size"),
    ("test_size", int, None, "test images; default a quarter of size"),
    ("image_size", int, None, "height and width in pixels"),
    ("outlines", str, "+", "disc, square, triangle"),
    ("frequencies", float, "+", "of the textures, cycles per pixel"),
    ("orientations", float, "*", "of the textures, degrees; none: random, no part of the class"),
    ("frequency_jitter", float, None, "relative"),
    ("orientation_jitter", float, None, "degrees"),
    ("count", int, 2, "objects per image"),
    ("radius", float, 2, "pixels"),
    ("contrast", float, 2, "amplitude of the textures, 0 to 1"),
    ("colour", float, 2, "of the objects, 0 to 1"),
    ("noise", float, 2, "standard deviation, 0 to 1"),
    ("background_exponent", float, 2, "b of the amplitude spectrum 1/f^b"),
    ("background_amplitude", float, 2, "standard deviation, 0 to 1"),
    ("min_visible", float, None, "share in sight below which an object is not annotated"),
)


def add_data_parser(
    subparsers: Any, *, check: Callable[[argparse.Namespace], int] | None = None
) -> None:
    """Add ``data`` with its commands; each sets ``func``: arguments in, exit code out.

    ``check`` does ``data check``, which reads run configs and so belongs to the layers above this
    one; without it there is no such command.
    """
    data = subparsers.add_parser("data", help="make, convert or check data sets")
    commands = data.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    _add_shapes(commands)
    _add_voc(commands)
    _add_masks(commands)
    _add_cityscapes(commands)
    if check is not None:
        _add_check(commands, check)


def _add_shapes(commands: Any) -> None:
    parser = commands.add_parser("shapes", help="make Spectral Shapes, the synthetic benchmark")
    parser.add_argument(
        "--out", required=True, help="data root: new, empty, or Spectral Shapes of these parameters"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace Spectral Shapes of other parameters, where nobody reads them",
    )
    for name, kind, count, text in SHAPES_OPTIONS:
        metavar = ("LOW", "HIGH") if count == 2 else name.split("_")[-1].upper()
        parser.add_argument(
            "--" + name.replace("_", "-"), type=kind, nargs=count, help=text, metavar=metavar
        )
    parser.set_defaults(func=make_shapes)


def _add_voc(commands: Any) -> None:
    parser = commands.add_parser("voc2coco", help="PASCAL-VOC XML to COCO JSON")
    parser.add_argument("--annotations", required=True, help="folder of XML files")
    parser.add_argument("--images", required=True, help="folder of their images")
    parser.add_argument("--out", required=True, help="JSON file to write")
    parser.add_argument("--classes", nargs="+", help="in category order; default all found, sorted")
    parser.add_argument("--names", help="only the files of this list, as ImageSets/Main/train.txt")
    parser.add_argument(
        "--zero-based", action="store_true", help="boxes count from 0, xmax and ymax excluded"
    )
    parser.set_defaults(func=convert_voc)


def _add_masks(commands: Any) -> None:
    parser = commands.add_parser("masks", help="image and mask folders to the index-PNG layout")
    parser.add_argument("--images", required=True, help="folder of images")
    parser.add_argument("--masks", required=True, help="folder of masks of the same names")
    parser.add_argument("--out", required=True, help="data root to write to")
    parser.add_argument("--split", required=True, help="train, val or test")
    parser.add_argument("--colours", help="JSON or CSV: class name and colour, for colour masks")
    parser.add_argument("--remap", help="JSON or CSV: old and new index, for index masks")
    parser.add_argument(
        "--ignore", nargs="+", default=[], help="classes of --colours to ignore (255)"
    )
    parser.add_argument("--mask-ending", default="", help="end of the masks' names, such as _L")
    parser.set_defaults(func=convert_mask_folder)


def _add_cityscapes(commands: Any) -> None:
    parser = commands.add_parser("cityscapes", help="label ids to train ids, in the folder")
    parser.add_argument("root", metavar="ROOT", help="data root, with gtFine/")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default 1")
    parser.add_argument("--redo", action="store_true", help="write also what is there already")
    parser.set_defaults(func=convert_cityscapes)


def _add_check(commands: Any, check: Callable[[argparse.Namespace], int]) -> None:
    parser = commands.add_parser("check", help="open a run config's data and name what is wrong")
    parser.add_argument("config", metavar="CONFIG", help="run config (.py)")
    add_options(parser, "--cfg-options", dest="cfg_options", help="e.g. data_root=/data/x")
    parser.add_argument(
        "--images", type=int, default=50, metavar="K", help="images of a data set to decode"
    )
    parser.set_defaults(func=check)


def make_shapes(args: argparse.Namespace) -> int:
    """``data shapes``: make the folder, or say that it is whole already."""
    from fourierkd.data.shapes import ShapesSpec
    from fourierkd.data.shapes_folder import find_fault, prepare_shapes

    chosen = {name: getattr(args, name) for name, *_ in SHAPES_OPTIONS}
    spec = ShapesSpec.from_dict({k: v for k, v in chosen.items() if v is not None})
    whole = not find_fault(Path(os.path.expanduser(args.out)).resolve(), spec)
    manifest = prepare_shapes(args.out, spec, force=args.force)
    counts = ", ".join(f"{spec.split_size(split)} {split}" for split in ("train", "val", "test"))
    state = "whole already" if whole else "written"
    print(f"{args.out}: {state}, {counts}, {len(manifest['classes']) - 1} classes of objects")
    return 0


def convert_voc(args: argparse.Namespace) -> int:
    """``data voc2coco``."""
    from fourierkd.data.voc import voc_left_out, voc_to_coco

    coco = voc_to_coco(
        args.annotations,
        args.images,
        args.out,
        classes=args.classes,
        names_file=args.names,
        zero_based=args.zero_based,
    )
    names = ", ".join(category["name"] for category in coco["categories"])
    print(
        f"{args.out}: {len(coco['images'])} images, {len(coco['annotations'])} objects of {names}"
    )
    if args.names is None:
        say_left_out(voc_left_out(args.annotations, args.images, coco))
    return 0


def convert_mask_folder(args: argparse.Namespace) -> int:
    """``data masks``."""
    from fourierkd.data.label_maps import read_colours, read_remap
    from fourierkd.data.masks import convert_masks

    done = convert_masks(
        args.images,
        args.masks,
        args.out,
        split=args.split,
        colours=read_colours(args.colours) if args.colours else None,
        remap=read_remap(args.remap) if args.remap else None,
        ignore=args.ignore,
        mask_ending=args.mask_ending,
    )
    print(f"{args.out}: {done['images']} pairs in {args.split}; for the dataset's config:")
    print(f"img_suffix={done['img_suffix']!r}, seg_map_suffix='.png', reduce_zero_label=False")
    if done["classes"]:
        print(f"metainfo=dict(classes={done['classes']}, palette={done['palette']})")
    total = sum(done["pixels"].values())
    shares = ", ".join(f"{label}: {100 * n / total:.2f} %" for label, n in done["pixels"].items())
    print(f"pixels by label: {shares}")
    labels = sorted(done["pixels"].keys() - {255})
    if len(labels) < 2:
        print(
            f"warning: the masks hold the labels {labels} and 255, which is ignored: nothing to "
            "train on; for masks of 0 and 255 give --remap, with lines 0,0 and 255,1"
        )
    say_left_out(done["left_out"])
    return 0


def say_left_out(found: dict[str, list[str]]) -> None:
    """A line for each folder of which a converter left something out."""
    for folder, counts in found.items():
        if counts:
            print(f"left out: {folder}: {', '.join(counts)}")


def convert_cityscapes(args: argparse.Namespace) -> int:
    """``data cityscapes``."""
    from fourierkd.data.cityscapes import convert

    done = convert(args.root, jobs=args.jobs, redo=args.redo)
    print(f"{args.root}: {done['written']} masks of train ids written, {done['kept']} kept")
    return 0
