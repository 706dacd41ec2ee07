"""``fourierkd completion``: in flow the command line's parser, out flows a script for a shell.

shtab makes the script once, so that no key press in the shell starts Python.
"""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh")
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files"}
FOLDERS = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}
# What an argument is called in the help -> how a shell completes it.
PATHS = {
    "CONFIG": FILES,
    "CHECKPOINT": FILES,
    "FILE": FILES,
    "RUN": FOLDERS,
    "FOLDER": FOLDERS,
    "ROOT": FOLDERS,
}


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that completes a command line.

    Args:
        parser: of the whole command line.
        shell: ``bash`` or ``zsh``.
    """
    import shtab

    _complete_paths(parser)
    return str(shtab.complete(parser, shell=shell))


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Mark what names a file or a folder, in place."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_paths(inner)
        elif isinstance(action.metavar, str) and action.metavar in PATHS:
            action.complete = PATHS[action.metavar]  # type: ignore[attr-defined]
