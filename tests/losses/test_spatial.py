import pytest
import torch

from fourierkd.errors import ConfigError
from fourierkd.losses.spatial import FeatureL2, feature_l2


def test_value_by_hand():
    student = torch.tensor([[[[1.0, 2.0]], [[0.0, -1.0]]]])
    assert feature_l2(student, torch.zeros_like(student)).item() == 6 / 4


def test_gradcheck_and_no_gradient_to_the_teacher():
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    for normalize in (False, True):
        assert torch.autograd.gradcheck(
            lambda s, n=normalize: feature_l2(s, teacher, normalize=n), student
        )
        FeatureL2(normalize=normalize)(student, teacher).backward()
    assert teacher.grad is None


def test_normalize_ignores_scale_and_offset_per_channel():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    scale, offset = torch.tensor([2.0, 5.0, 0.5]).view(3, 1, 1), torch.randn(3, 1, 1)
    loss = FeatureL2(normalize=True)
    torch.testing.assert_close(
        loss(student * scale + offset, teacher), loss(student, teacher), rtol=1e-3, atol=1e-4
    )
    reference = [torch.nn.BatchNorm2d(3, affine=False)(x) for x in (student, teacher)]
    torch.testing.assert_close(
        loss(student, teacher), torch.nn.functional.mse_loss(reference[0], reference[1])
    )


@pytest.mark.parametrize("resize_stu", [True, False])
def test_sizes_are_matched(resize_stu):
    student, teacher = torch.randn(2, 3, 4, 6, requires_grad=True), torch.randn(2, 3, 8, 6)
    loss = FeatureL2(loss_weight=2.0, resize_stu=resize_stu)
    size = (8, 6) if resize_stu else (4, 6)
    resized = [
        torch.nn.functional.interpolate(x, size=size, mode="bilinear") for x in (student, teacher)
    ]
    torch.testing.assert_close(loss(student, teacher), 2 * feature_l2(*resized))


def test_function_equals_module_and_half_precision_is_lifted():
    student, teacher = torch.randn(2, 3, 4, 4).bfloat16(), torch.randn(2, 3, 4, 4).bfloat16()
    expected = 3 * feature_l2(student.float(), teacher.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(FeatureL2(3.0)(student, teacher), expected)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"loss_weight": -1}, "loss_weight must be"),
        ({"resize_stu": 1}, "resize_stu must be"),
        ({"normalize": None}, "normalize must be"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        FeatureL2(**options)


def test_bad_features():
    with pytest.raises(ConfigError, match="agree in"):
        FeatureL2()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))
