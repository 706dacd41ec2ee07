"""What lies beside what was taken is counted, with an example."""

from __future__ import annotations

from pathlib import Path

from fourierkd.data.left_out import image_suffixes, left_out


def test_counts_by_suffix_as_written_and_by_place(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.JPG", "d.txt", "sub/e.jpg", "sub/deep/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    taken = [tmp_path / "a.jpg", tmp_path / "sub/e.jpg"]
    assert left_out(tmp_path, taken, image_suffixes()) == [
        "1 *.jpg (b.jpg)",
        "1 *.JPG (c.JPG)",
        "1 in sub-folders (sub/deep/f.png)",
    ]
    assert left_out(tmp_path, [], (".xml",)) == []
