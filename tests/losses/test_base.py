"""What the others ask of a loss, of every loss of the table and of one that a user writes."""

from __future__ import annotations

import inspect

import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.base import HEADS, LOGITS, MAPS, MapLoss, Objects, match_maps
from fourierkd.losses.table import LOSSES

MAP_LOSSES = pytest.mark.parametrize("kind", [k for k in LOSSES if issubclass(k, MapLoss)])


class Largest(MapLoss):
    """A loss of its own: the largest difference."""

    def __init__(self, loss_weight: float = 1.0, *, resize_stu: bool = True) -> None:
        super().__init__(loss_weight, resize_stu=resize_stu)

    def distance(self, student, teacher):
        return (student - teacher).abs().amax()


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_of_the_table_declares_what_is_asked(kind):
    loss = kind()
    assert loss.compares in (MAPS, LOGITS, HEADS)
    assert issubclass(kind, MapLoss) == (loss.compares != HEADS)
    for name, value in loss.scalars().items():
        assert name.isidentifier()
        assert isinstance(value, float)
    if loss.balanced_by is not None:
        assert getattr(loss, loss.balanced_by) > 0
    with pytest.raises(ConfigError, match="loss_weight must be a finite number >= 0"):
        kind(loss_weight=-1.0)


def build(kind):
    """A loss for maps of three channels."""
    channels = {"in_channels": 3} if "in_channels" in inspect.signature(kind).parameters else {}
    torch.manual_seed(0)
    return kind(loss_weight=2.0, **channels)


def seeded(loss, student, teacher):
    """The loss's own draws are the same at every call; an image has a box where it is asked for."""
    torch.manual_seed(1)
    objects = Objects([torch.tensor([[1.0, 0.0, 3.0, 2.0]])] * len(student), (4, 4))
    return loss(student, teacher, **loss.beside_maps(objects))


@MAP_LOSSES
def test_a_teachers_map_gets_no_gradient_and_both_stay_as_they_are(kind):
    loss = build(kind)
    student, teacher = (torch.randn(2, 3, 5, 7, requires_grad=True) for _ in range(2))
    copies = [x.detach().clone() for x in (student, teacher)]
    value = seeded(loss, student, teacher)
    value.backward()
    assert value.ndim == 0
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None
    assert all(torch.equal(x, copy) for x, copy in zip((student, teacher), copies, strict=True))
    strided = [x.detach().contiguous(memory_format=torch.channels_last) for x in (student, teacher)]
    torch.testing.assert_close(seeded(loss, *strided), value, rtol=1e-4, atol=1e-6)


@MAP_LOSSES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_in_float32(kind, dtype):
    loss = build(kind)
    student, teacher = (torch.randn(2, 3, 6, 5).to(dtype) for _ in range(2))
    student.requires_grad_()
    expected = seeded(loss, student.float(), teacher.float())
    with torch.autocast("cpu", dtype=dtype):
        value = seeded(loss, student, teacher)
        value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


@MAP_LOSSES
@pytest.mark.parametrize("fill", [0.0, 3.0])
def test_zeros_and_constants_are_finite(kind, fill):
    loss, any_map = build(kind), torch.randn(2, 3, 5, 7)
    flat = torch.full_like(any_map, fill)
    for student, teacher in ((flat, any_map), (any_map, flat), (flat, flat)):
        student = student.clone().requires_grad_()
        value = seeded(loss, student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()


@MAP_LOSSES
@pytest.mark.parametrize("resize_stu", [True, False])
def test_maps_of_different_size_are_those_resized_before(kind, resize_stu):
    loss = build(kind)
    loss.resize_stu = resize_stu
    student, teacher = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 8, 5)
    resized = match_maps(student, teacher, resize_stu=resize_stu)
    assert torch.equal(seeded(loss, student, teacher), seeded(loss, *resized))


def test_a_loss_is_its_distance_times_its_weight_in_full_precision():
    student = torch.zeros(1, 1, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    teacher = torch.tensor([[[[0.0, 1.0], [-3.0, 2.0]]]]).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = Largest(2.0)(student, teacher)
    assert value.dtype == torch.float32
    assert value.item() == 6
    value.backward()
    assert student.grad.count_nonzero() == 1
    assert teacher.grad is None
    assert Largest().scalars() == {}


class Brightest(Largest):
    """One that takes maps of unequal channels: the difference of their largest values."""

    any_width = True

    def distance(self, student, teacher):
        return (student.amax() - teacher.amax()).abs()


def test_a_loss_may_take_maps_of_unequal_channels():
    student, teacher = torch.ones(2, 3, 5, 4), torch.full((2, 7, 3, 3), 4.0)
    assert Brightest()(student, teacher).item() == 3
    with pytest.raises(ConfigError, match="agree in N"):
        Brightest()(student, teacher[:1])


@pytest.mark.parametrize("resize_stu", [True, False])
def test_one_of_two_sizes_is_taken_for_both(resize_stu):
    student, teacher = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 8, 3, dtype=torch.float64)
    ours, theirs = match_maps(student, teacher, resize_stu=resize_stu)
    assert ours.shape == theirs.shape == (2, 3, *((8, 3) if resize_stu else (5, 4)))
    assert ours.dtype == theirs.dtype == torch.float32


@pytest.mark.parametrize(
    ("student", "teacher", "rule"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4), "agree in C.*the same classes"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), "agree in N"),
        ([torch.zeros(2, 3, 4, 4)], torch.zeros(2, 3, 4, 4), "student.*call the loss once a level"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4), r"teacher.*map \(N, C, H, W\)"),
        (torch.zeros(2, 3, 0, 4), torch.zeros(2, 3, 0, 4), "non-empty"),
        (torch.zeros(2, 3, 4, 4).long(), torch.zeros(2, 3, 4, 4), "float dtype"),
    ],
)
def test_what_is_no_pair_of_maps_is_refused(student, teacher, rule):
    with pytest.raises(ConfigError, match=rule):
        Largest()(student, teacher)
