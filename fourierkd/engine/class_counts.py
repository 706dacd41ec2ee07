"""Classes of the student's heads against those of the training data: in flow a run config.

A head with fewer classes than the data has no output for a label, and training ends in an index
error; one with more trains outputs that no label teaches. Nothing is built and no file is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from fourierkd.data.check import leaves
from fourierkd.data.check_names import class_names
from fourierkd.data.findings import Finding
from fourierkd.distill.model_config import resolve_model
from fourierkd.distill.registry import MODELS, register_scope
from fourierkd.engine.data_at_start import known_defaults
from fourierkd.errors import ConfigError

# Heads of other classes than the data's: objects or none, stuff, boundaries.
OTHERS = ("rpn_head", "semantic_head")
OTHER_TYPES = ("STDCHead",)
SEGMENTATION = ("decode_head", "auxiliary_head")


def check_class_counts(config: Mapping[str, Any]) -> list[str]:
    """Heads with more classes than the training data, a sentence each.

    Raises:
        ConfigError: a head has fewer, or one class alone by softmax, of which the loss is always 0.
    """
    said: list[str] = []
    for found in class_findings(config):
        if found.refused:
            raise ConfigError(found.what, value=found.example, fix=found.fix)
        said.append(f"{found.what}: {found.example}")
    return said


def class_findings(config: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with the heads' numbers of classes; none where they or the data's are unknown.

    Raises:
        ConfigError: the student's config is wrong.
    """
    spec = (config.get("model") or {}).get("student")
    count = training_classes(config.get("train_dataloader") or {})
    if spec is None or count is None:
        return []
    model = resolve_model(spec)
    found: list[Finding] = []
    for name, head in heads_of(model):
        classes = class_number(head, str(model["_scope_"]))
        if classes is None:
            continue
        if classes < count:
            found.append(
                Finding(
                    f"num_classes of the student's {name} must be that of the training data, "
                    f"{count}",
                    example=str(classes),
                    fix=f"set it to {count}, or correct the data's classes",
                    refused=True,
                )
            )
        elif _is_constant(name, head, classes):
            found.append(
                Finding(
                    f"softmax over one output has a loss of 0: num_classes of the student's {name}",
                    example=str(classes),
                    fix="add a background class, or set use_sigmoid=True in its loss",
                    refused=True,
                )
            )
        elif classes > count:
            found.append(
                Finding(
                    f"num_classes of the student's {name} is more than the training data has",
                    example=f"{classes}, and {count} classes",
                    fault=False,
                )
            )
    return found


def training_classes(loader: Mapping[str, Any]) -> int | None:
    """How many classes the training data has."""
    for dataset in leaves(loader.get("dataset")):
        classes = class_names(dataset, known_defaults(str(dataset.get("type"))))
        return len(classes) if isinstance(classes, (list, tuple)) else None
    return None


def heads_of(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted names and dicts of the heads in a model's dict, those in lists and in heads too."""
    if isinstance(node, (list, tuple)):
        node = {str(i): part for i, part in enumerate(node)}
    if not isinstance(node, Mapping):
        return
    name = next((part for part in reversed(path) if not part.isdigit()), "")
    if name.endswith("_head") and "type" in node and node["type"] not in OTHER_TYPES:
        yield ".".join(path), node
    for key, part in node.items():
        if key not in OTHERS:
            yield from heads_of(part, (*path, str(key)))


def class_number(head: Mapping[str, Any], scope: str) -> int | None:
    """``num_classes`` of a head, or what its class takes by default."""
    if "num_classes" in head:
        return head["num_classes"] if isinstance(head["num_classes"], int) else None
    register_scope(scope)
    kind = str(head["type"])
    cls = MODELS.get(kind if "." in kind else f"{scope}.{kind}")
    for base in getattr(cls, "__mro__", ()):
        parameter = inspect.signature(base.__init__).parameters.get("num_classes")
        if parameter is not None:
            return parameter.default if isinstance(parameter.default, int) else None
    return None


def _is_constant(name: str, head: Mapping[str, Any], classes: int) -> bool:
    """Whether a segmentation head's cross entropy is a softmax over one output."""
    if (head.get("out_channels") or classes) != 1 or not name.startswith(SEGMENTATION):
        return False
    losses = head.get("loss_decode", {"type": "CrossEntropyLoss"})
    return any(
        str(loss.get("type")).endswith("CrossEntropyLoss") and not loss.get("use_sigmoid")
        for loss in (losses if isinstance(losses, (list, tuple)) else [losses])
    )
