"""Annotation files that could run code are refused, whatever reads them through MMEngine."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from mmengine.dataset import BaseDataset
from mmengine.fileio import dump, load

from fourierkd.distill import registry as registry  # which every command imports
from fourierkd.errors import DataError


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("suffix", ["pkl", "pickle"])
def test_a_pickle_is_refused_and_not_read(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"train.{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"a pickle can run code.*to JSON"):
        BaseDataset(ann_file=str(path))
    with pytest.raises(DataError, match="a pickle can run code"), path.open("rb") as file:
        load(file, file_format=suffix)
    assert not Path("ran").exists()
    dump([1], tmp_path / f"written.{suffix}")
    assert pickle.loads((tmp_path / f"written.{suffix}").read_bytes()) == [1]


def test_yaml_is_plain_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.yml"
    path.write_text("classes: [a, b]")
    assert load(path) == {"classes": ["a", "b"]}
    path.write_text("!!python/object/apply:os.mkdir [ran]")
    with pytest.raises(Exception, match="could not determine a constructor"):
        load(path)
    assert not Path("ran").exists()
