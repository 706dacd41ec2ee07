"""prepare_data of a run config: the data is there afterwards, and mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourierkd.data.in_use import readers
from fourierkd.data.prepare import prepared
from fourierkd.errors import ConfigError

SMALL = {"kind": "shapes", "size": 2, "val_size": 1, "test_size": 1, "image_size": 16}


def test_makes_the_data_and_leaves_the_config_alone(tmp_path: Path) -> None:
    cfg = {**SMALL, "radius": [3, 5], "seed": 4}
    with prepared(cfg, tmp_path / "data", reader="a run"):
        assert readers(tmp_path / "data") == ["a run"]
    assert readers(tmp_path / "data") == []
    assert cfg == {**SMALL, "radius": [3, 5], "seed": 4}
    manifest = json.loads((tmp_path / "data/manifest.json").read_text())
    assert manifest["parameters"]["seed"] == 4
    assert manifest["parameters"]["radius"] == [3, 5]


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({**SMALL, "kind": "shape"}, "known kind.*did you mean 'shapes'"),
        ({"size": 2}, "known kind"),
        ({**SMALL, "nois": [0, 1]}, "did you mean 'noise'"),
        ({**SMALL, "size": "2"}, "size must be a whole number"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(cfg: dict, message: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=message),
        prepared(cfg, tmp_path / "data", reader="a run"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_tells_data_apart(tmp_path: Path) -> None:
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        cfg = {**SMALL, "seed": seed, "radius": [3, 5]}
        with prepared(cfg, tmp_path / name, reader="a run"):
            pass
    first, same, other = ((tmp_path / name / "manifest.json").read_text() for name in "abc")
    assert first == same != other  # it holds the checksum of every file
