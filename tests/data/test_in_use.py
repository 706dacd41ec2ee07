"""Readers are those whose lock is held; what a killed process leaves is no reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourierkd.data.in_use import readers, registered


def test_readers_are_live_and_leave_nothing(tmp_path: Path) -> None:
    place = tmp_path / "shapes"
    with (
        registered(place, "one"),
        registered(place, "two"),
        registered(tmp_path / "other", "three"),
    ):
        assert sorted(readers(place)) == ["one", "two"]
        assert sorted(readers(place)) == ["one", "two"]  # looking takes nobody's lock
    with pytest.raises(ValueError, match="of a run"), registered(place, "one"):
        raise ValueError("of a run")
    assert readers(place) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_lock_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".shapes.in_use.abc").write_text("killed")
    assert readers(tmp_path / "shapes") == []
    assert list(tmp_path.iterdir()) == []
