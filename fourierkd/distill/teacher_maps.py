"""A frozen teacher's maps, computed once: in flow preprocessed images, out flow their maps.

A frozen teacher is a function of its input, so its maps are kept by the content of the image as it
enters (pixels after augmentation and normalisation): whatever the augmentation did, an image that
was seen before needs no forward pass. It pays where few different images come by, which
``engine.hooks.teacher_maps`` decides. One file for each teacher keeps them for the next run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors.torch import load, save
from torch import Tensor

from fourierkd.run_dir import write_atomic

Maps = dict[str, list[Tensor]]  # tap -> levels
Forward = Callable[[Tensor, Any], Maps]
LIMIT = 1 << 30  # bytes of maps that a run keeps in memory
CHECKSUM_BYTES = 32


class TeacherMaps:
    """Maps by the content of the image they belong to.

    Where they do not come out bit by bit as from the teacher, they are not used. oneDNN takes
    another path for one image alone, whose last bits differ, so a map is computed in a batch of two
    or more where it is used in one. That batches of two and more agree is no promise of any
    library: the first batch of a run is computed as without kept maps, and compared.

    Args:
        file: where earlier runs left maps of the same teacher, and where ``save`` puts them. A file
            that is damaged, or that another machine's arithmetic wrote, is replaced.
        images: how many different images can come. When more do, or when the maps of so many would
            take more than LIMIT bytes, nothing is kept any more.

    Attributes:
        why_live: why the teacher runs at every step; None while maps are kept.
    """

    def __init__(self, file: Path, images: int) -> None:
        self._file, self._expected = file, images
        self._known: dict[str, Maps] = _read(file)
        self._saved = len(self._known)
        self._seen: set[str] = set()  # in this run; the file may be of other data too
        self._checked = False
        self.why_live: str | None = None

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, forward: Forward, inputs: Tensor, data_samples: Any) -> Maps:
        """What ``forward(inputs, data_samples)`` gives, known maps from memory.

        Args:
            forward: gives maps (N, C, H, W) by tap, each image's independent of the others'.
            inputs: preprocessed images, (N, 3, H, W).
            data_samples: one for each image, or None.
        """
        if self.why_live is not None:
            return forward(inputs, data_samples)
        keys = _keys(inputs)
        self._seen.update(keys)
        if not self._checked:
            return self._first(forward, inputs, data_samples, keys)
        missing = [i for i, key in enumerate(keys) if key not in self._known]
        if missing:
            if len(missing) == 1 and len(keys) > 1:
                missing.append((missing[0] + 1) % len(keys))
            fresh = forward(inputs[missing], _chosen(data_samples, missing))
            if not self._keep({keys[i]: _row(fresh, j) for j, i in enumerate(missing)}):
                return forward(inputs, data_samples)
        first = self._known[keys[0]]
        return {
            tap: [
                torch.stack([self._known[key][tap][level] for key in keys]).to(inputs.device)
                for level in range(len(levels))
            ]
            for tap, levels in first.items()
        }

    def _first(self, forward: Forward, inputs: Tensor, data_samples: Any, keys: list[str]) -> Maps:
        """The first batch: maps as without this class, and a check that others agree with them."""
        self._checked = True
        maps = forward(inputs, data_samples)
        rows = {key: _row(maps, i) for i, key in enumerate(keys)}
        if any(not _equal(self._known[k], row) for k, row in rows.items() if k in self._known):
            print_log(f"teacher: {self._file} holds other bits than this machine gives", "current")
            self._known, self._saved = {}, -1  # below any number: replace the file
        if len(keys) > 2:
            pair = [len(keys) - 1, 0]
            others = forward(inputs[pair], _chosen(data_samples, pair))
            if any(not _equal(_row(others, j), rows[keys[i]]) for j, i in enumerate(pair)):
                self._give_up("its maps depend on the batch they are computed in (last bits)")
                return maps
        self._keep(rows)
        return maps

    def _keep(self, rows: Mapping[str, Maps]) -> bool:
        """Keep these maps by key, or give up where too many or too large ones come: then False."""
        size = _bytes(next(iter(rows.values())))
        if len(self._seen) > self._expected:
            self._give_up(f"more images come than the data set can give ({self._expected})")
        elif size * self._expected > LIMIT:
            self._give_up(
                f"the maps of {self._expected} images take {size * self._expected / 2**30:.1f} "
                f"GiB, more than {LIMIT / 2**30:g}"
            )
        else:
            for key, row in rows.items():
                self._known.setdefault(key, row)
        return self.why_live is None

    def _give_up(self, reason: str) -> None:
        self.why_live = reason
        self._known = {}
        print_log(f"teacher: runs at every step, since {reason}", "current")

    def save(self) -> None:
        """Leave the maps for the next run; OSError where the cache cannot be written."""
        if self.why_live is None and len(self._known) > self._saved:
            if self._saved >= 0:  # another run may have left maps meanwhile
                self._known = {**_read(self._file), **self._known}
            if sum(map(_bytes, self._known.values())) > LIMIT:  # of many data sets
                self._known = {key: self._known[key] for key in self._seen}
            write_atomic(self._file, _to_bytes(self._known))
            self._saved = len(self._known)


def _chosen(data_samples: Any, rows: Sequence[int]) -> Any:
    return None if data_samples is None else [data_samples[i] for i in rows]


def _row(maps: Maps, i: int) -> Maps:
    """The maps of one image, (C, H, W) a level, on the CPU, in the layout that a file takes."""
    rows = {tap: [m[i].cpu() for m in levels] for tap, levels in maps.items()}
    plain = torch.contiguous_format
    return {tap: [m.clone(memory_format=plain) for m in row] for tap, row in rows.items()}


def _bytes(maps: Maps) -> int:
    return sum(m.numel() * m.element_size() for levels in maps.values() for m in levels)


def _equal(one: Maps, other: Maps) -> bool:
    return one.keys() == other.keys() and all(
        len(one[tap]) == len(other[tap])
        and all(torch.equal(a, b) for a, b in zip(one[tap], other[tap], strict=True))
        for tap in one
    )


def _keys(inputs: Tensor) -> list[str]:
    """A digest for each image: of its pixels, its size, the precision, and whether it is alone."""
    device = inputs.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
    about = f"{tuple(inputs.shape[1:])} {inputs.dtype} {dtype} {len(inputs) == 1}".encode()
    pixels = inputs.detach().cpu().contiguous().view(torch.uint8).numpy()
    return [
        hashlib.blake2b(about + image.tobytes(), digest_size=16).hexdigest() for image in pixels
    ]


def _to_bytes(known: dict[str, Maps]) -> bytes:
    flat = {
        f"{key}/{tap}/{level}": tensor
        for key, maps in known.items()
        for tap, levels in maps.items()
        for level, tensor in enumerate(levels)
    }
    data: bytes = save(flat)
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest() + data


def _read(file: Path) -> dict[str, Maps]:
    """The maps in ``file``; none where there is no such file, or where it is damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return {}
    checksum, data = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
    if hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest() != checksum:
        print_log(f"teacher: {file} is damaged; its maps are computed again", "current")
        return {}
    known: dict[str, Maps] = {}
    flat = load(data)
    for name in sorted(flat, key=_by_level):
        key, tap, _ = name.split("/")
        known.setdefault(key, {}).setdefault(tap, []).append(flat[name])
    return known


def _by_level(name: str) -> tuple[str, int]:
    stem, _, level = name.rpartition("/")
    return stem, int(level)


def maps_file(folder: Path, parts: Sequence[Any]) -> Path:
    """The file for a teacher that ``parts`` (digest of its weights, config, taps ...) describe."""
    return folder / f"{hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()}.maps"
