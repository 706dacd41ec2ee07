"""Methods of distillation: in flow a method's file and where a pair is tapped, out flow losses.

A pair names its taps once by role, ``taps = dict(feature=..., logits=...)``; a method is a file
that says what it compares at a role, with which settings, from which source, and what can be tuned.
So every method goes with every pair that has one of its roles. Nothing here imports torch.
"""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourierkd.errors import ConfigError, FourierKDError, near

ROLES = {
    "feature": "a map of the backbone",
    "pyramid": "the maps of a neck, level by level",
    "logits": "class scores of every pixel",
    "head": "a detection head",
}
SUM = "+"  # between methods that are taken together
STUDENT_ALONE = "student_alone"  # the method that compares nothing
FOLDER = Path(__file__).resolve().parent.parent / "configs/methods"
_ENTRY_KEYS = ("loss", "connector", "warmup_iters")
_DEFAULTS = {"connector": "auto", "warmup_iters": 0}

Space = dict[str, dict[str, Any]]  # role -> "<loss>.<key>" -> value or suggest node


@dataclass(frozen=True)
class Method:
    """What is compared at each role that the method knows.

    Attributes:
        name: of its file.
        title: the first line of the file.
        source: paper and equation.
        losses: role -> loss -> ``dict(loss, connector, warmup_iters)``, as in ``model.losses`` but
            without taps. A loss that stands at several roles is taken at the first that a pair has.
        space: what can be tuned, given the ``suggest`` of a study.
    """

    name: str
    title: str
    source: str
    losses: Mapping[str, Mapping[str, Mapping[str, Any]]]
    space: Callable[[Any], Space]

    def at(self, roles: Collection[str]) -> dict[str, dict[str, Any]]:
        """The losses for a pair with these roles, each with its role as ``tap``.

        Raises:
            ConfigError: the pair has none of the method's roles.
        """
        found: dict[str, dict[str, Any]] = {}
        for role, losses in self.losses.items():
            if role in roles:
                for name, entry in losses.items():
                    found.setdefault(name, {"tap": role, **copy.deepcopy(dict(entry))})
        if not found:
            raise ConfigError(
                f"the method {self.name} compares {' or '.join(self.losses)}, and the pair's taps "
                "name none",
                value=sorted(roles),
                fix=f"add it: taps = dict({next(iter(self.losses))}=<module path>)",
            )
        return found

    def options(self, roles: Collection[str], suggest: Any) -> dict[str, tuple[Any, Any]]:
        """What can be tuned for a pair: dotted option -> (its node, the method's own value).

        Raises:
            ConfigError: the pair has none of the method's roles, or the space has a key that the
                losses do not state.
        """
        losses = self.at(roles)
        found: dict[str, tuple[Any, Any]] = {}
        for role, nodes in self.space(suggest).items():
            for name, node in nodes.items():
                loss, _, key = name.partition(".")
                if losses.get(loss, {}).get("tap") != role:
                    self._check_named(name, role)
                    continue  # the pair lacks the role
                option = f"model.losses.{loss}"
                if not key:
                    found[option] = (node, losses[loss])
                elif key in _DEFAULTS:
                    found[f"{option}.{key}"] = (node, losses[loss].get(key, _DEFAULTS[key]))
                elif key in losses[loss]["loss"]:
                    found[f"{option}.loss.{key}"] = (node, losses[loss]["loss"][key])
                else:
                    self._check_named(name, role)
        return found

    def _check_named(self, name: str, role: str) -> None:
        """What can be tuned is stated in ``losses``, so that the method's own value is known."""
        loss, _, key = name.partition(".")
        entry = self.losses.get(role, {}).get(loss)
        known = [*_DEFAULTS, *(entry["loss"] if entry is not None else ())]
        if entry is None or (key and key not in known):
            raise ConfigError(
                f"the space of the method {self.name} has a key that its losses at {role} state",
                value=name,
                fix=near(key, known) if entry is not None else f"add {loss} to losses.{role}",
            )


def method_names() -> list[str]:
    """The methods of this repository, and the student alone."""
    return [STUDENT_ALONE, *sorted(path.stem for path in FOLDER.glob("*.py"))]


def method_label(name: str) -> str:
    """What a method is called beside others: ``pkd_iou`` for ``pkd+iou``, ``mine`` for a file."""
    return "_".join(Path(part).stem for part in str(name).split(SUM))


def method_files(name: str) -> list[Path]:
    """The files of a method: one of ``configs/methods`` or a path that ends with ``.py``; several
    of them with ``+`` between are one method with the losses of all.

    Raises:
        ConfigError: there is no such method.
    """
    if not isinstance(name, str):
        raise ConfigError("method is the name or the file of a method", value=name)
    paths = []
    for part in name.split(SUM):
        path = Path(part) if part.endswith(".py") else FOLDER / f"{part}.py"
        if not path.is_file():
            raise ConfigError("unknown method", value=part, fix=near(part, method_names()))
        paths.append(path)
    return paths


def read_method(name: str) -> Method:
    """Read a method's file, or the files of a sum.

    Raises:
        ConfigError: there is none, it cannot be run, or it lacks a part; two of a sum have a loss
            of one name.
    """
    parts = [_read(path) for path in method_files(name)]
    if len(parts) == 1:
        return parts[0]
    losses: dict[str, dict[str, Mapping[str, Any]]] = {}
    names = [loss for part in parts for loss in {n for role in part.losses.values() for n in role}]
    for loss in names:
        if names.count(loss) > 1:
            raise ConfigError(
                "methods that are added up have losses of different names",
                value=f"{loss} twice in {name}",
            )
    for part in parts:
        for role, entries in part.losses.items():
            losses.setdefault(role, {}).update(entries)

    def space(suggest: Any) -> Space:
        found: Space = {}
        for part in parts:
            for role, nodes in part.space(suggest).items():
                found.setdefault(role, {}).update(nodes)
        return found

    title, source = (
        " ".join(words) for words in zip(*((p.title, p.source) for p in parts), strict=True)
    )
    return Method(method_label(name), title, source, losses, space)


def _read(path: Path) -> Method:
    try:
        content = runpy.run_path(str(path))
    except FourierKDError:
        raise
    except (Exception, SystemExit) as error:  # whatever the file's own Python raises
        raise ConfigError(
            f"the method {path} cannot be read: {type(error).__name__}: {error}", fix="correct it"
        ) from error
    title, source = content.get("__doc__"), content.get("source")
    if not isinstance(title, str) or not isinstance(source, str):
        raise ConfigError(
            f"the method {path} begins with a line in quotes and has a source",
            value={"title": title, "source": source},
        )
    losses, space = _check_losses(path, content.get("losses")), content.get("space")
    if space is not None and not callable(space):
        raise ConfigError(f"space of the method {path} is a function of suggest", value=space)
    first_line = title.strip().splitlines()[0]
    return Method(path.stem, first_line, source, losses, space or (lambda _: {}))


def _check_losses(path: Path, losses: Any) -> dict[str, dict[str, dict[str, Any]]]:
    if not isinstance(losses, Mapping) or not losses:
        raise ConfigError(f"losses of the method {path} is a dict of role -> losses", value=losses)
    for role, entries in losses.items():
        if role not in ROLES:
            raise ConfigError(
                f"unknown role in the method {path}", value=role, fix=near(str(role), ROLES)
            )
        if not isinstance(entries, Mapping) or not all(
            isinstance(e, Mapping) for e in entries.values()
        ):
            raise ConfigError(f"losses.{role} of {path} is a dict of name -> loss", value=entries)
        for name, entry in entries.items():
            for key in entry:
                if key not in _ENTRY_KEYS:
                    raise ConfigError(
                        f"unknown key of losses.{role}.{name} in {path}",
                        value=key,
                        fix=near(key, _ENTRY_KEYS),
                    )
            if "loss" not in entry:
                raise ConfigError(f"losses.{role}.{name} of {path} needs a loss", value=dict(entry))
    return dict(losses)


def check_taps(taps: Any) -> dict[str, tuple[Any, Any]]:
    """Role -> (student's, teacher's module paths) of the key ``taps`` of a run config.

    Args:
        taps: role -> a path or a list of them for both sides, ``dict(student=..., teacher=...)``
            where they differ, or None for a role that a base has and this pair lacks.

    Raises:
        ConfigError: an unknown role, or a value of another form.
    """
    if not isinstance(taps, Mapping):
        raise ConfigError("taps is a dict of role -> module path", value=taps)
    found = {}
    for role, where in taps.items():
        if role not in ROLES:
            raise ConfigError("unknown role in taps", value=role, fix=near(str(role), ROLES))
        if where is None:
            continue
        if isinstance(where, Mapping):
            if set(where) != {"student", "teacher"}:
                raise ConfigError(
                    f"taps.{role} is a module path, or dict(student=..., teacher=...)", value=where
                )
            found[role] = (where["student"], where["teacher"])
        else:
            found[role] = (where, where)
    return found


def taps_as_written(taps: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The key ``taps`` that ``check_taps`` reads back.

    >>> taps_as_written({"feature": ("a", "a"), "logits": ("b", "c")})
    {'feature': 'a', 'logits': {'student': 'b', 'teacher': 'c'}}
    """
    return {
        role: student if student == teacher else {"student": student, "teacher": teacher}
        for role, (student, teacher) in taps.items()
    }


def with_taps(name: str, entry: Any, taps: Mapping[str, tuple[Any, Any]]) -> Any:
    """An entry of ``model.losses`` with its paths in place of the role that it names as ``tap``.

    Paths that stand beside the role go before the pair's.

    Raises:
        ConfigError: the pair has no such role.
    """
    if not isinstance(entry, Mapping) or "tap" not in entry:
        return entry
    role = entry["tap"]
    if role not in taps:
        known = f"; the pair has {', '.join(taps)}" if taps else ""
        raise ConfigError(
            f"model.losses.{name}.tap is a role of the pair's taps",
            value=role,
            fix=f"{near(str(role), ROLES)}{known}",
        )
    kind = "head" if role == "head" else "tap"
    student, teacher = taps[role]
    own = {key: value for key, value in entry.items() if key != "tap"}
    return {f"student_{kind}": student, f"teacher_{kind}": teacher, **own}
