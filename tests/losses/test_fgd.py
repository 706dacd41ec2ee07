"""Focal and global distillation: by hand, against loops over pixels, and what of it learns."""

from __future__ import annotations

import doctest
import importlib
import math

import pytest
import torch
from torch.nn import functional as F

from fourierkd.errors import ConfigError
from fourierkd.losses.base import Objects
from fourierkd.losses.fgd import FGDLoss, GlobalContext, attention, region_weights

PARTS = ("foreground", "background", "attention", "relation")


def maps(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    s, t = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return s.requires_grad_(), t


def objects(n, size=(64, 96)):
    """Two images' boxes, the second's overlapping, and none in the others."""
    some = [
        torch.tensor([[8.0, 5, 40, 30]]),
        torch.tensor([[0.0, 0, 50, 64], [20, 10, 30, 20], [95, 63, 96, 64]]),
    ]
    return Objects([*some, *[torch.zeros(0, 4)] * n][:n], size)


def own_loss(channels=4, **options):
    torch.manual_seed(3)
    loss = FGDLoss(channels, **options).double()
    for parameter in loss.parameters():  # the contexts begin with nothing added
        torch.nn.init.normal_(parameter, std=0.3)
    return loss


def only(part, weight=1.0):
    return {name: weight if name == part else 0.0 for name in PARTS}


def softmax(values):
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def looped_masks(boxes, image, size):
    """Weights of the pixels of one image, pixel by pixel."""
    (height, width), (rows, columns) = size, image
    inside = [[0.0] * width for _ in range(height)]
    for x1, y1, x2, y2 in boxes:
        left, top = math.floor(x1 * width / columns), math.floor(y1 * height / rows)
        left, top = min(left, width - 1), min(top, height - 1)
        right = max(min(math.ceil(x2 * width / columns), width), left + 1)
        bottom = max(min(math.ceil(y2 * height / rows), height), top + 1)
        for y in range(top, bottom):
            for x in range(left, right):
                inside[y][x] = max(inside[y][x], 1 / ((right - left) * (bottom - top)))
    outside = sum(v == 0 for row in inside for v in row)
    return inside, [[(v == 0) / outside if outside else 0.0 for v in row] for row in inside]


def looped_attention(feature, temperature):
    c, height, width = len(feature), len(feature[0]), len(feature[0][0])
    pixels = [(y, x) for y in range(height) for x in range(width)]
    space = softmax([sum(abs(f[y][x]) for f in feature) / c / temperature for y, x in pixels])
    channels = softmax(
        [sum(abs(f[y][x]) for y, x in pixels) / len(pixels) / temperature for f in feature]
    )
    return [len(pixels) * v for v in space], [c * v for v in channels]


def looped(student, teacher, given, temperature, alpha, beta, gamma):
    """The focal part, from its formula."""
    total = 0.0
    size = tuple(student.shape[2:])
    for s, t, boxes in zip(student.tolist(), teacher.tolist(), given.boxes, strict=True):
        inside, outside = looped_masks(boxes.tolist(), given.size, size)
        space, channels = looped_attention(t, temperature)
        own_space, own_channels = looped_attention(s, temperature)
        for c, weight in enumerate(channels):
            for y in range(size[0]):
                for x in range(size[1]):
                    region = alpha * inside[y][x] + beta * outside[y][x]
                    gap = (s[c][y][x] - t[c][y][x]) ** 2
                    total += region * space[y * size[1] + x] * weight * gap
        total += gamma * sum(abs(a - b) for a, b in zip(space, own_space, strict=True))
        total += gamma * sum(abs(a - b) for a, b in zip(channels, own_channels, strict=True))
    return total / len(student)


def test_value_by_hand():
    # one channel, two pixels, the first is the object; teacher (1, 1): attention 1 everywhere
    student, teacher = torch.tensor([[[[3.0, 4.0]]]]), torch.ones(1, 1, 1, 2)
    given = Objects([torch.tensor([[0.0, 0.0, 8.0, 8.0]])], (8, 16))
    for part, value in (("foreground", 4.0), ("background", 9.0), ("relation", 13.0)):
        assert FGDLoss(1, 2.0, **only(part))(student, teacher, objects=given).item() == 2 * value
    # attention of the student over space: 2 softmax(3, 4) against (1, 1)
    high = 2 / (1 + math.exp(-1))
    found = FGDLoss(1, temperature=1.0, **only("attention"))(student, teacher, objects=given)
    assert found.item() == pytest.approx(2 * (high - 1))


def test_regions_by_hand():
    given = Objects([torch.tensor([[4.0, 0, 12, 8]]), torch.zeros(0, 4)], (16, 16))
    inside, outside = region_weights(given, (4, 4))
    assert inside[0, 0].tolist() == [[0, 0.25, 0.25, 0]] * 2 + [[0] * 4] * 2
    assert outside[0, 0, 0].tolist() == pytest.approx([1 / 12, 0, 0, 1 / 12])
    assert inside[1].count_nonzero() == 0
    assert outside[1].tolist() == [[[1 / 16] * 4] * 4]
    tiny = Objects([torch.tensor([[7.9, 7.9, 8.1, 8.1], [0, 0, 16, 16]])], (16, 16))
    inside, outside = region_weights(tiny, (1, 2))  # a map of fewer pixels than objects
    assert inside[0, 0].tolist() == [[0.5, 0.5]]
    assert outside.count_nonzero() == 0


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (8, 12)])
def test_the_focal_part_equals_loops(size):
    student, teacher = maps(3, 4, *size)
    given = objects(3)
    loss = FGDLoss(
        4, 1.5, temperature=0.7, foreground=0.3, background=0.2, attention=0.1, relation=0.0
    )
    expected = 1.5 * looped(student, teacher, given, 0.7, 0.3, 0.2, 0.1)
    torch.testing.assert_close(loss(student, teacher, objects=given).item(), expected)


def test_the_global_part_is_that_of_gcblocks():
    student, teacher = maps(2, 4, 3, 5)
    loss = own_loss(loss_weight=2.0, **only("relation", 0.5))

    def with_context(x, block):
        scores = F.conv2d(x, block.where.weight[:, :, None, None])
        weights = scores.flatten(1).softmax(1).view(2, 1, 3, 5)
        context = (x * weights).sum((2, 3), keepdim=True)
        hidden = F.conv2d(context, block.inner.weight[:, :, None, None], block.inner.bias)
        hidden = F.layer_norm(
            hidden, (2, 1, 1), block.norm.weight[:, None, None], block.norm.bias[:, None, None]
        )
        return x + F.conv2d(hidden.relu(), block.outer.weight[:, :, None, None], block.outer.bias)

    ours = with_context(student, loss.student_context)
    theirs = with_context(teacher, loss.teacher_context)
    expected = 2 * 0.5 * (ours - theirs).square().sum() / 2
    torch.testing.assert_close(loss(student, teacher, objects=objects(2)), expected)


def test_contexts_begin_with_nothing_added():
    feature = torch.randn(2, 6, 3, 5)
    assert GlobalContext(6)(feature).count_nonzero() == 0
    assert GlobalContext(1)(feature[:, :1]).shape == (2, 1, 1, 1)


@pytest.mark.parametrize("part", PARTS)
def test_gradcheck_of_map_and_parameters(part):
    student, teacher = maps(2, 3, 3, 4)
    loss = own_loss(3, **only(part))
    names = [name for name, _ in loss.named_parameters()]
    given = objects(2)

    def value(s, *parameters):
        arguments = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(loss, arguments, (s, teacher), {"objects": given})

    assert torch.autograd.gradcheck(value, (student, *loss.parameters()))


def test_attention_has_a_mean_of_one_and_knows_no_sign():
    feature = torch.randn(2, 3, 4, 5)
    space, channels = attention(feature, 0.5)
    for part in (space, channels):
        torch.testing.assert_close(part.flatten(1).mean(1), torch.ones(2))
    assert all(
        torch.equal(a, b) for a, b in zip(attention(-feature, 0.5), (space, channels), strict=True)
    )


def test_a_mean_over_images_and_the_error_outside_of_objects():
    student, teacher = maps(2, 4, 6, 6)
    given = objects(2)
    loss = own_loss()
    single = [
        loss(
            student[i : i + 1],
            teacher[i : i + 1],
            objects=Objects(given.boxes[i : i + 1], given.size),
        )
        for i in range(2)
    ]
    torch.testing.assert_close(loss(student, teacher, objects=given), sum(single) / 2)
    foreground = FGDLoss(4, **only("foreground"))
    (gradient,) = torch.autograd.grad(foreground(student, teacher, objects=given), student)
    inside = region_weights(given, (6, 6))[0] > 0
    assert ((gradient != 0).any(1, keepdim=True) == inside).all()


def test_the_contexts_belong_to_the_loss():
    assert sum(p.numel() for p in FGDLoss(256).parameters()) == 2 * (256**2 + 7 * 128) == 132_864
    assert not FGDLoss(256, relation=0.0).state_dict()


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"in_channels": 0}, "in_channels must be an integer >= 1"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"attention": -1}, "attention must be a finite number >= 0"),
        (dict.fromkeys(PARTS, 0), "must not all be 0"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        FGDLoss(**options)


def test_bad_features_and_no_boxes():
    x = torch.zeros(2, 3, 3, 3)
    with pytest.raises(ConfigError, match="maps must have in_channels=4 channels, got 3"):
        FGDLoss(4)(x, x, objects=objects(2))
    with pytest.raises(ConfigError, match="boxes of every image, got None; give objects="):
        FGDLoss(3)(x, x)
    with pytest.raises(ConfigError, match="boxes of every image, got 3"):
        FGDLoss(3)(x, x, objects=objects(3))


def test_docstring_examples():
    assert doctest.testmod(importlib.import_module("fourierkd.losses.fgd")).failed == 0
