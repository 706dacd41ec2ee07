"""A controlled teacher gives what its control says of the maps it would give, live or kept."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.controls import CONTROLS, of_another_image, with_random_phases
from fourierkd.distill.distiller import Distiller
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.distill.teacher_maps import TeacherMaps
from fourierkd.errors import ConfigError


def maps(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=dtype) + 0.5


def test_every_image_has_the_maps_of_another():
    found = of_another_image(torch.arange(3.0).view(3, 1, 1, 1))
    assert found.flatten().tolist() == [2.0, 0.0, 1.0]
    with pytest.raises(ConfigError, match="two or more images in every batch, got 1; set a train_"):
        of_another_image(maps(1, 2, 3, 3))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 6), (1, 4), (1, 1)])
def test_amplitudes_and_means_stay_and_phases_do_not(size):
    feature = maps(2, 3, *size)
    found = with_random_phases(feature)
    assert found.dtype == feature.dtype
    ours, theirs = (torch.fft.fft2(x.double()) for x in (found, feature))
    torch.testing.assert_close(ours.abs(), theirs.abs(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean((2, 3)), feature.mean((2, 3)))
    if min(size) > 4:
        centred = [x - x.mean((2, 3), keepdim=True) for x in (found, feature)]
        correlation = torch.nn.functional.cosine_similarity(*(x.flatten(2) for x in centred), dim=2)
        assert correlation.abs().max() < 0.6  # 35 to 64 values: a standard deviation is below 0.17
        assert correlation.abs().mean() < 0.3


def test_phases_are_the_same_for_every_image_and_call_and_others_in_every_channel():
    feature = maps(2, 3, 8, 8)
    once = with_random_phases(feature)
    state = torch.get_rng_state()
    assert torch.equal(with_random_phases(feature), once)
    assert torch.equal(torch.get_rng_state(), state)  # the run's own draws are untouched
    alone = with_random_phases(feature[1:])
    torch.testing.assert_close(alone[0], once[1])
    same = with_random_phases(feature[:, :1].expand(2, 3, 8, 8))
    assert not torch.allclose(same[:, 0], same[:, 1], atol=0.1)


def test_half_precision_and_autocast():
    feature = maps(2, 3, 6, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = with_random_phases(feature)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, with_random_phases(feature.float()).bfloat16())
    assert with_random_phases(torch.zeros(1, 2, 4, 4)).count_nonzero() == 0


@pytest.mark.parametrize("control", CONTROLS)
def test_a_teacher_applies_it_to_all_it_gives_also_where_maps_are_kept(
    control, retina, det_batch, tmp_path
):
    def teacher(**options):
        torch.manual_seed(0)
        arguments = {"heads": ["bbox_head"], **options}
        return FrozenTeacher(retina(8), "random", ["neck"], **arguments)

    plain, controlled = teacher(), teacher(control=control)
    controlled.model.load_state_dict(plain.model.state_dict())
    data = plain.model.data_preprocessor(det_batch(3), False)
    plain_maps = plain(**data)
    expected = {k: [CONTROLS[control](m) for m in levels] for k, levels in plain_maps.items()}
    controlled.maps = TeacherMaps(tmp_path / "t.maps", 9)
    for _ in range(2):  # computed, then from memory
        found = controlled(**data)
        assert found.keys() == expected.keys() == {"neck", "bbox_head"}
        for key, levels in found.items():
            for ours, theirs, own in zip(levels, expected[key], plain_maps[key], strict=True):
                assert torch.equal(ours, theirs)
                assert own.shape[2:] == (1, 1) or not torch.equal(ours, own)
    assert controlled.identity == plain.identity  # the file of kept maps is the plain teacher's


@pytest.mark.parametrize("control", CONTROLS)
def test_a_distilled_step(control, psp, seg_batch):
    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    losses = {"l2": {**taps, "loss": {"type": "FeatureL2"}}}
    values = {}
    for name in (None, control):
        torch.manual_seed(0)
        teacher = {"model": psp(8), "checkpoint": "random", "control": name}
        model = Distiller(psp(8), teacher, losses).train()
        data = model.data_preprocessor(seg_batch(), True)
        found = model(**data, mode="loss")
        model.parse_losses(found)[0].backward()
        values[name] = found
    own = [key for key in values[None] if not key.startswith("distill.")]
    assert all(torch.equal(values[None][key], values[control][key]) for key in own)
    assert not torch.equal(values[None]["distill.l2.loss"], values[control]["distill.l2.loss"])


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ("random_phase", "control is a negative control, or None.*did you mean 'random_phases'"),
        (["other_image"], r"control is a negative control, or None, got \['other_image'\]"),
    ],
)
def test_an_unknown_control_is_refused(psp, control, message):
    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    teacher = {"model": psp(8), "checkpoint": "random", "control": control}
    with pytest.raises(ConfigError, match=message):
        Distiller(psp(8), teacher, {"l2": {**taps, "loss": {"type": "FeatureL2"}}})
