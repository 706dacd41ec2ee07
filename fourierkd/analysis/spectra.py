"""Spectra that a run saved: a run folder flows in, its newest pictures and arrays flow out."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fourierkd.errors import DataError
from fourierkd.run_dir import RunDir

PROFILE_ARRAYS = ("radius", "student_profile", "teacher_profile")


@dataclass(frozen=True)
class Spectrum:
    """The newest spectra of one loss at one level.

    ``name`` is ``<loss>_<level>``, ``iteration`` when it was taken; ``png`` and ``npz`` are None
    where the run did not write them.
    """

    name: str
    iteration: int
    png: Path | None
    npz: Path | None

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays behind the picture; empty where there is no ``.npz``.

        Returns:
            ``radius`` (bins,) and ``band_edges`` (bands + 1,) in fractions of Nyquist,
            ``student_profile`` and ``teacher_profile`` (bins,) mean power, ``gap`` (bands,),
            ``student_log_amplitude`` and ``teacher_log_amplitude`` (H, W), ``caption`` (), a text
            that says which layers these are, optionally ``mask`` (H, W).

        Raises:
            DataError: the file is damaged or lacks a profile.
        """
        if self.npz is None:
            return {}
        try:
            with np.load(self.npz, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{self.npz} is not a readable .npz file ({error})") from error
        missing = [name for name in PROFILE_ARRAYS if name not in arrays]
        if missing:
            raise DataError(f"{self.npz} lacks the arrays {', '.join(missing)}")
        return arrays


def last_spectra(run: RunDir) -> list[Spectrum]:
    """The newest spectra of every loss and level in the run, by name; empty where it saved none."""
    return [
        Spectrum(name, i, _existing(run.picture(i, name)), _existing(run.picture(i, name, ".npz")))
        for name, i in run.newest_pictures().items()
    ]


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
