"""Class names: in flow those of a config and of annotations, out flow the names of the labels.

MMDetection numbers labels in the order of the annotation file's ``categories``, of which it takes
those that the config's classes name; the order of the classes themselves changes nothing there, but
it is the order of the names under which scores are shown. MMSegmentation goes by the classes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fourierkd.data.findings import Checked, Data
from fourierkd.errors import ConfigError, near


def class_names(dataset: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """The classes of a data set's config, else its class's own; a file of names is read.

    A text that names no file comes back as it is, and so does whatever else stands there.

    Raises:
        ConfigError: ``metainfo`` is no dict.
    """
    metainfo = dataset.get("metainfo") or {}
    if not isinstance(metainfo, Mapping):
        raise ConfigError("metainfo is a dict", value=metainfo, fix="e.g. dict(classes=('cat',))")
    given = metainfo.get("classes")
    if isinstance(given, str) and Path(given).is_file():
        return Path(given).read_text().splitlines()
    return own.get("classes") if given is None else given


def check_metainfo(dataset: Mapping[str, Any], checked: Checked) -> None:
    """Refuse ``CLASSES`` and ``PALETTE``, as older versions had them: nothing reads them."""
    old = [key for key in dataset.get("metainfo") or {} if key in ("CLASSES", "PALETTE")]
    fix = "write metainfo=dict(classes=..., palette=...)"
    checked.add("the keys of metainfo are in small letters", old, fix=fix, refused=True)


def check_classes(classes: Any, checked: Checked) -> list[str] | None:
    """The classes where they are a list of names, each once; None where they are not, or not known.

    ``classes=("crack")`` is a text, of which every letter would be a class.
    """
    if classes is None:
        return None
    if not isinstance(classes, (list, tuple)) or not all(isinstance(n, str) for n in classes):
        fix = f"write classes=({classes!r},)" if isinstance(classes, str) else "write classes=(...)"
        checked.add("classes must be a list of names", [repr(classes)], fix=fix, refused=True)
        return None
    checked.add("a class must be named once", repeated(classes), refused=True)
    return list(classes)


def check_categories(content: Mapping[str, Any], data: Data, checked: Checked) -> None:
    """Compare the categories of COCO annotations with the classes; sets ``checked.labels``."""
    names = [category["name"] for category in content["categories"]]
    classes = list(data.classes or names)
    checked.add(
        "a category must be there once: MMDetection gives the second of one name a label more",
        repeated(names),
        fix=f"rename it in {data.ann_file}",
        refused=True,
    )
    checked.add(
        "a category id must be there once",
        repeated(category["id"] for category in content["categories"]),
        fix=f"correct {data.ann_file}",
        refused=True,
    )
    if not set(classes) & set(names):
        checked.add(
            f"a class of the config must be a category of {data.ann_file}: {', '.join(names[:5])}",
            [", ".join(classes[:5])],
            fix="set metainfo=dict(classes=...)",
            refused=True,
        )
    for name in classes:
        if name not in names:
            checked.add(
                "a class of the config must be a category of the annotations",
                [name],
                fix=f"{near(name, names)} (set metainfo=dict(classes=...))",
            )
    extra = [name for name in names if name not in classes]
    checked.add("categories that the config leaves out", extra, fault=False)
    used = {annotation["category_id"] for annotation in content["annotations"]}
    ids = {category["name"]: category["id"] for category in content["categories"]}
    empty = [name for name in classes if name in ids and ids[name] not in used]
    checked.add("classes without a box", empty, fault=False)
    checked.labels = [name for name in names if name in classes]
    _check_order(checked.labels, [name for name in classes if name in names], data, checked)


def _check_order(
    labels: Sequence[str], classes: Sequence[str], data: Data, checked: Checked
) -> None:
    wrong = [
        f"label {i} is {found!r} in {data.ann_file} and {wanted!r} in the config"
        for i, (found, wanted) in enumerate(zip(labels, classes, strict=False))
        if found != wanted
    ]
    checked.add(
        "the classes must be in the order of the annotations' categories, as MMDetection numbers "
        "labels by it",
        wrong,
        fix="bring `categories` of all files and `classes` into one order",
        refused=True,
    )


def repeated(values: Iterable[Any]) -> list[Any]:
    """Those that are there more than once, each once."""
    return [value for value, count in Counter(values).items() if count > 1]
