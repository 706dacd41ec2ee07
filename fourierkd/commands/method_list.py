"""The methods of distillation as a list: in flow their files and a pair's config, out flows text.

Of a pair each method is built as a run builds it, with a teacher of random weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from fourierkd.errors import ConfigError
from fourierkd.losses.table import LOSSES
from fourierkd.methods import STUDENT_ALONE, Method, method_names, read_method

ROLES_OF_TASKS = {
    "detection": {"feature", "pyramid", "head"},
    "segmentation": {"feature", "pyramid", "logits"},
}


class _Names:
    """Stands where a study has its ``suggest``: only the names of what is tuned are wanted."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def describe_methods(config: str | None = None) -> dict[str, list[str]]:
    """Method -> lines: its tasks, what it is and compares, its source, what a study tunes.

    Args:
        config: a run config with a teacher; then the last line says what the method adds to it.

    Raises:
        ConfigError: the config cannot be read, has no teacher or losses of its own, or its student
            or teacher cannot be built. What is wrong with one method alone is its last line.
    """
    if config is not None:
        _check_pair(config)
    found = {STUDENT_ALONE: ["any pair", "The student trains on its own losses."]}
    for name in method_names():
        if name != STUDENT_ALONE:
            found[name] = _lines(read_method(name))
            if config is not None:
                found[name].append(_on_pair(config, name))
    return found


def print_methods(methods: Mapping[str, Sequence[str]]) -> None:
    """Print what ``describe_methods`` found, in the width of the terminal."""
    console = Console(highlight=False)
    for name, (tasks, *lines) in methods.items():
        console.print(Text.assemble((name, "bold"), f"  {tasks}"))
        for line in lines:
            console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))
    console.print("A sum of methods is one, too: pkd+iou.")


def _lines(method: Method) -> list[str]:
    at = "; ".join(f"{role}: {', '.join(losses)}" for role, losses in method.losses.items())
    tuned = dict.fromkeys(name for nodes in method.space(_Names()).values() for name in nodes)
    lines = [", ".join(_tasks(method)), method.title, f"compares {at}", f"source: {method.source}"]
    return [*lines, f"tuned: {', '.join(tuned)}"] if tuned else lines


def _tasks(method: Method) -> list[str]:
    """What pairs that have its roles are trained for; one that asks for boxes, detection alone."""
    of_detectors = {loss.__name__ for loss in LOSSES if loss.takes_objects}
    types = {entry["loss"]["type"] for at in method.losses.values() for entry in at.values()}
    if types & of_detectors:
        return ["detection"]
    return [task for task, roles in ROLES_OF_TASKS.items() if roles & set(method.losses)]


def _check_pair(config: str) -> None:
    """Refuse what no method can mend; it would be said of each."""
    from mmengine.registry import DefaultScope

    from fourierkd.commands.bench import build_pair
    from fourierkd.config.load import load_config, require_distiller
    from fourierkd.distill.config_files import to_plain
    from fourierkd.distill.refusals import told_in_one_line
    from fourierkd.distill.registry import SCOPE
    from fourierkd.distill.teacher import RANDOM, check_same_input, ready_teacher
    from fourierkd.distill.terms import check_teacher

    cfg = load_config(config, {"method": None})
    require_distiller(cfg)
    if cfg.model.get("teacher") is None:
        raise ConfigError(
            "a method needs a config with a teacher",
            value=config,
            fix="name the config of a pair, such as configs/shapes/pspnet_fourier.py",
        )
    if cfg.model.get("losses"):
        raise ConfigError(
            "a method stands in place of losses, and this config has losses of its own",
            value=list(cfg.model.losses),
            fix="put taps in place of model.losses",
        )
    with told_in_one_line("a pair must be built", fix="correct the config"):
        student = build_pair(load_config(config, {"method": STUDENT_ALONE})).student
        given = to_plain(cfg.model.teacher)
        check_teacher(given)
        with DefaultScope.overwrite_default_scope(SCOPE):
            teacher = ready_teacher({**given, "checkpoint": RANDOM}, [], [])
        check_same_input(student, teacher.model)


def _on_pair(config: str, name: str) -> str:
    """Trainable parameters that a method adds to the student, or why the pair cannot have it."""
    # These take a second, which a list does not need.
    from fourierkd.commands.bench import build_pair
    from fourierkd.config.load import load_config
    from fourierkd.engine.run import parameter_counts

    try:
        added = parameter_counts(build_pair(load_config(config, {"method": name})))["losses"]
    except ConfigError as error:
        return f"not on this pair: {error}"
    return f"on this pair: {added:,} parameters more in training, none of them in the student"
