"""Cityscapes label ids to train ids: the public table, whole files only, damaged ones by name."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourierkd.cli import main, run_command
from fourierkd.data.cityscapes import TABLE, convert, target_of
from fourierkd.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three masks in two splits; together they hold every label id."""
    for i, name in enumerate(("train/aachen/aachen_000000", "train/aachen/b", "val/ulm/c")):
        labels = (np.arange(40).reshape(5, 8) + i).clip(0, 33).astype(np.uint8)
        path = tmp_path / f"gtFine/{name}_gtFine_labelIds.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(path)
    return tmp_path


def targets(root: Path) -> list[Path]:
    return sorted(root.rglob("*_gtFine_labelTrainIds.png"))


def test_the_table_is_that_of_cityscapes():
    assert TABLE[[7, 8, 11, 26, 33]].tolist() == [0, 1, 2, 13, 18]
    ignored = [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30]
    assert (TABLE[ignored] == 255).all()
    assert sorted(TABLE[:34].tolist()) == [*range(19), *[255] * 15]


@pytest.mark.parametrize("jobs", [1, 2])
def test_masks_become_train_ids_beside_them(root, jobs):
    assert convert(root, jobs=jobs) == {"written": 3, "kept": 0}
    assert len(targets(root)) == 3
    for source in root.rglob("*_labelIds.png"):
        written = Image.open(target_of(source))
        assert written.mode == "L"
        assert np.array_equal(np.array(written), TABLE[np.array(Image.open(source))])
    assert not [p for p in root.rglob("*") if p.name.startswith(".")]


def test_what_is_done_is_kept_and_what_changed_is_done_again(root):
    convert(root)
    first, second, _ = targets(root)
    os.utime(first, (0, 0))
    second.unlink()
    assert convert(root) == {"written": 2, "kept": 1}
    assert convert(root) == {"written": 0, "kept": 3}
    assert convert(root, redo=True) == {"written": 3, "kept": 0}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:45]), "must be readable"),
        (lambda path: path.write_bytes(b"no png"), "unknown format"),
        (lambda path: Image.new("RGB", (8, 5)).save(path), "8-bit index image.*mode RGB"),
        (lambda path: Image.new("L", (8, 5), 34).save(path), "label ids must be 0 to 33, got 34"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bad_mask_is_named_and_leaves_no_file(root, damage, message, jobs):
    path = root / "gtFine/train/aachen/b_gtFine_labelIds.png"
    damage(path)
    with pytest.raises(DataError, match=message) as error:
        convert(root, jobs=jobs)
    assert str(path) in str(error.value)
    assert not target_of(path).exists()


def test_processes_may_do_the_same_folder(root):
    threads = [threading.Thread(target=convert, args=(root,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(targets(root)) == 3
    assert convert(root) == {"written": 0, "kept": 3}


def test_an_interruption_leaves_whole_files_only(root, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        convert(root)
    monkeypatch.undo()
    assert targets(root) == []
    assert convert(root)["written"] == 3


def test_the_command_line(root, capsys):
    assert run_command(["data", "cityscapes", str(root), "--jobs", "2"]) == 0
    assert "3 masks of train ids written, 0 kept" in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        main(["data", "cityscapes", str(root / "nothing")])
    assert error.value.code == 2
    assert "gtFine_trainvaltest.zip" in capsys.readouterr().err
