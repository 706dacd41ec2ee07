"""Kept maps are the teacher's own, bit by bit, or the teacher runs and says why."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill import teacher_maps
from fourierkd.distill.teacher_maps import TeacherMaps, maps_file


class Teacher:
    """Elementwise, so exact in any batch; counts the images it sees."""

    def __init__(self, factor: float = 2.0) -> None:
        self.factor, self.images, self.calls = factor, 0, 0

    def __call__(self, inputs, data_samples=None):
        self.images += len(inputs)
        self.calls += 1
        assert data_samples is None or len(data_samples) == len(inputs)
        return {"a": [inputs * self.factor, inputs[..., ::2] + 1], "b.c": [inputs.neg()]}


@pytest.fixture
def images():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def same(maps, expected) -> None:
    assert maps.keys() == expected.keys()
    for tap, levels in expected.items():
        assert len(levels) == len(maps[tap])
        assert all(torch.equal(a, b) for a, b in zip(maps[tap], levels, strict=True))


def test_each_image_is_computed_once_whatever_batch_it_comes_in(tmp_path, images):
    teacher, live = Teacher(), Teacher()
    maps = TeacherMaps(tmp_path / "m", 6)
    for rows in ([0, 1, 2], [2, 1, 3], [5, 4, 0], [3, 5, 1]):
        same(maps(teacher, images[rows], [None] * 3), live(images[rows]))
    # 3 and the pair that is compared; then 3 with a neighbour, as alone it may differ; then 5 and 4
    assert teacher.images == 3 + 2 + 2 + 2
    assert len(maps) == 6
    assert maps.why_live is None
    assert teacher.calls == 4


def test_the_next_run_starts_from_the_file(tmp_path, images):
    first = TeacherMaps(tmp_path / "m", 6)
    first(Teacher(), images[:3], None)
    first.save()
    first.save()  # nothing new
    other = TeacherMaps(tmp_path / "m", 6)
    assert len(other) == 3
    third = TeacherMaps(tmp_path / "m", 6)
    third(Teacher(), images[3:], None)
    other(Teacher(), images[1:5], None)
    third.save()
    other.save()  # keeps what the other has left
    again, teacher = TeacherMaps(tmp_path / "m", 6), Teacher()
    assert len(again) == 6
    same(again(teacher, images[:3], None), Teacher()(images[:3]))  # the check
    assert teacher.calls == 2
    same(again(teacher, images[3:], None), Teacher()(images[3:]))
    assert teacher.calls == 2


def test_maps_of_any_memory_layout_are_kept(tmp_path, images):
    """Transformers permute their tokens into maps; a layout other than (C, H, W) is no reason."""

    def channels_last(inputs, data_samples):
        return {"a": [inputs.movedim(1, -1).contiguous().movedim(-1, 1)]}

    maps = TeacherMaps(tmp_path / "m", 6)
    assert not channels_last(images, None)["a"][0].is_contiguous()
    same(maps(channels_last, images, None), {"a": [images]})
    maps.save()
    again = TeacherMaps(tmp_path / "m", 6)
    same(again(channels_last, images, None), {"a": [images]})
    assert len(again) == 6


def test_a_file_of_other_bits_is_replaced(tmp_path, images):
    before = TeacherMaps(tmp_path / "m", 6)
    before(Teacher(2.0 + 1e-6), images, None)
    before.save()
    maps = TeacherMaps(tmp_path / "m", 6)
    for rows in ([0, 1, 2], [3, 4, 5]):
        same(maps(Teacher(), images[rows], None), Teacher()(images[rows]))
    maps.save()
    again = TeacherMaps(tmp_path / "m", 6)
    same(again(Teacher(), images[:2], None), Teacher()(images[:2]))
    assert len(again) == 6


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:40] + b"x", None])
def test_a_damaged_file_costs_its_maps_and_nothing_else(tmp_path, images, damage):
    maps = TeacherMaps(tmp_path / "m", 6)
    maps(Teacher(), images, None)
    maps.save()
    data = (tmp_path / "m").read_bytes()
    (tmp_path / "m").write_bytes(damage(data) if damage else b"")
    again = TeacherMaps(tmp_path / "m", 6)
    assert len(again) == 0
    same(again(Teacher(), images, None), Teacher()(images))
    again.save()
    assert len(TeacherMaps(tmp_path / "m", 6)) == 6


def test_a_teacher_that_depends_on_the_batch_runs_live(tmp_path, images):
    def batchwise(inputs, data_samples=None):
        return {"a": [inputs * (1 + len(inputs) * 1e-7)]}

    maps = TeacherMaps(tmp_path / "m", 6)
    for rows in ([0, 1, 2], [0, 1], [3, 1, 0, 2]):
        same(maps(batchwise, images[rows], None), batchwise(images[rows]))
    assert "depend on the batch" in maps.why_live
    maps.save()
    assert not (tmp_path / "m").exists()


def test_more_images_than_the_data_gives_or_too_large_ones_run_live(tmp_path, images, monkeypatch):
    maps = TeacherMaps(tmp_path / "m", 4)
    for rows in ([0, 1, 2], [3, 4, 5], [0, 1, 2]):
        same(maps(Teacher(), images[rows], None), Teacher()(images[rows]))
    assert "more images come than the data set can give (4)" in maps.why_live
    monkeypatch.setattr(teacher_maps, "LIMIT", 1000)
    maps = TeacherMaps(tmp_path / "m", 6)
    same(maps(Teacher(), images, None), Teacher()(images))
    assert "GiB" in maps.why_live


def test_maps_of_other_data_lie_in_the_file_and_count_for_nothing(tmp_path, images, monkeypatch):
    other = TeacherMaps(tmp_path / "m", 4)
    other(Teacher(), images[:4], None)
    other.save()
    maps = TeacherMaps(tmp_path / "m", 2)
    same(maps(Teacher(), images[4:], None), Teacher()(images[4:]))
    assert maps.why_live is None
    maps.save()
    assert len(TeacherMaps(tmp_path / "m", 1)) == 6
    monkeypatch.setattr(teacher_maps, "LIMIT", 2 * 2000)  # 1920 bytes an image
    maps = TeacherMaps(tmp_path / "m", 2)
    maps(Teacher(), images[:1] + 1, None)
    maps.save()
    assert len(TeacherMaps(tmp_path / "m", 1)) == 1


def test_precision_size_and_being_alone_tell_images_apart(tmp_path, images):
    maps, teacher = TeacherMaps(tmp_path / "m", 100), Teacher()
    maps(teacher, images, None)
    before = teacher.images
    with torch.autocast("cpu", torch.bfloat16):
        maps(teacher, images, None)
    maps(teacher, images.double(), None)
    maps(teacher, images.reshape(6, 3, 4, 16), None)
    assert teacher.images == before + 18
    maps(teacher, images[:1], None)
    assert teacher.images == before + 19
    maps(teacher, images, None)
    maps(teacher, images[:1], None)
    assert teacher.images == before + 19


def test_a_teachers_file_is_its_own(tmp_path):
    parts = ("sha", {"type": "X"}, "backbone.layer4", None)
    file = maps_file(tmp_path, parts)
    assert file == maps_file(tmp_path, parts)
    assert file != maps_file(tmp_path, (*parts[:3], {"mask": "HighPass"}))
