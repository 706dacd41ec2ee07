"""A student answers with bands of its maps exchanged, at every level, and is itself afterwards."""

from __future__ import annotations

import pytest
import torch

from fourierkd.distill.band_exchange import Fitted, compared_taps, exchanged, fit_taps
from fourierkd.distill.distiller import Distiller
from fourierkd.errors import ConfigError
from fourierkd.spectral.frequency import band_of_frequency
from fourierkd.spectral.half import half_spectrum

EDGES = (0.0, 0.5, 1.0)
L2 = {"type": "FeatureL2", "loss_weight": 2.0}


@pytest.fixture
def pair(toy):
    """A toy pair of unequal widths with one loss on its two-level neck."""

    def make(**entry):
        torch.manual_seed(3)
        base = {"student_tap": "neck", "teacher_tap": "neck", "loss": L2, **entry}
        teacher = {"model": toy(width=6), "checkpoint": "random"}
        return Distiller(toy(), teacher, {"l2": base, "again": base}).eval()

    return make


def images(n: int, seed: int = 0, size: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def fitted(model: Distiller, edges=EDGES) -> Fitted:
    (compared,) = compared_taps(model)
    return fit_taps(model, compared, [(images(3, seed), None) for seed in range(4)], edges)


def neck(model: Distiller, inputs: torch.Tensor) -> list[torch.Tensor]:
    """The maps that the head is given."""
    given: list[torch.Tensor] = []
    handle = model.student.head.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        model(inputs, None, mode="predict")
    handle.remove()
    return given


def test_losses_at_the_same_taps_are_one_comparison(pair):
    (compared,) = compared_taps(pair())
    assert compared.label == "neck"
    assert compared.levels == ((0, 0), (1, 1))
    several = ["neck.convs.1", "neck.convs.0"]
    (other,) = compared_taps(pair(student_tap=several, teacher_tap=several))
    assert other.label == "neck.convs.1, neck.convs.0"
    assert other.levels == ((0, 0), (1, 1))
    (crossed,) = compared_taps(pair(student_tap="neck.convs.1", teacher_tap="neck.convs.0"))
    assert crossed.label == "neck.convs.1 from neck.convs.0"


@pytest.mark.parametrize("by_teacher", [True, False])
def test_one_band_of_every_level_is_exchanged(pair, by_teacher):
    model = pair()
    fit, inputs = fitted(model), images(5, seed=7)
    own = neck(model, inputs)
    with exchanged(model, fit, [1], by_teacher=by_teacher):
        changed = neck(model, inputs)
        again = neck(model, inputs)
    for before, after, twice in zip(own, changed, again, strict=True):
        assert torch.equal(after, twice)
        inside = band_of_frequency(*before.shape[2:], EDGES) == 1
        first, second = half_spectrum(before), half_spectrum(after)
        torch.testing.assert_close(second[..., ~inside], first[..., ~inside])
        rest = second[..., inside].abs().max()
        assert (rest > 0.01) if by_teacher else (rest < 1e-5)
        assert not torch.allclose(second[..., inside], first[..., inside], atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(own, neck(model, inputs), strict=True))
    assert not model.student._forward_pre_hooks
    assert not model.student.neck._forward_hooks


def test_another_images_band_takes_the_place_of_the_own(pair):
    model = pair()
    fit, inputs = fitted(model), images(3, seed=7)
    with exchanged(model, fit, [1], by_teacher=True, other_image=True):
        together = neck(model, inputs)
        after = neck(model, images(2, seed=8))
    with exchanged(model, fit, [1], by_teacher=True, other_image=True):
        singly = [neck(model, one) for one in inputs.split(1)]
        wide = neck(model, images(1, seed=9, size=12))  # after an image of another size
    assert [m.shape[2] for m in wide] == [12, 6]
    for level, maps in enumerate(together):  # however the images are put into batches
        torch.testing.assert_close(maps, torch.cat([one[level] for one in singly]))
    # the band of the second image is the first one's, as the teacher tells it; so too over batches
    last, first = images(3, seed=7)[-1:], images(2, seed=8)[:1]
    with exchanged(model, fit, [1], by_teacher=True):
        told = [neck(model, inputs), neck(model, last)]
    for level, own in enumerate(neck(model, inputs)):
        inside = band_of_frequency(*own.shape[2:], EDGES) == 1
        band = half_spectrum(told[0][level])[..., inside]
        found = half_spectrum(together[level])
        torch.testing.assert_close(found[1:][..., inside], band[:-1], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(found[..., ~inside], half_spectrum(own)[..., ~inside])
        assert not torch.allclose(found[0][..., inside], band[0], atol=1e-3)
        torch.testing.assert_close(
            half_spectrum(after[level])[:1][..., inside],
            half_spectrum(told[1][level])[..., inside],
            atol=1e-4,
            rtol=1e-3,
        )
        rest = half_spectrum(neck(model, first)[level])
        torch.testing.assert_close(
            half_spectrum(after[level])[:1][..., ~inside], rest[..., ~inside]
        )


@pytest.mark.parametrize("level", [0, 1])
def test_one_level_is_exchanged_alone(pair, level):
    model = pair()
    fit, inputs = fitted(model), images(2, seed=7)
    own = neck(model, inputs)
    with exchanged(model, fit, [0, 1], by_teacher=False, level=level):
        changed = neck(model, inputs)
    with exchanged(model, fit, [0, 1], by_teacher=False):
        all_changed = neck(model, inputs)
    assert torch.equal(changed[level], all_changed[level])
    assert torch.equal(changed[1 - level], own[1 - level])
    assert fit.energy([0], level) + fit.energy([1], level) == pytest.approx(1)
    assert fit.explained([0], 0) != fit.explained([0], 1)


def test_a_student_that_is_the_teacher_is_told_whole_and_stays(toy):
    torch.manual_seed(3)
    teacher = {"model": toy(), "checkpoint": "random"}
    model = Distiller(
        toy(), teacher, {"l2": {"student_tap": "neck", "teacher_tap": "neck", "loss": L2}}
    ).eval()
    model.student.load_state_dict(model.teacher.model.state_dict())
    fit, inputs = fitted(model), images(2, seed=7)
    assert fit.explained([0, 1]) == pytest.approx(1, abs=1e-6)
    own = model(inputs, None, mode="predict")
    with torch.no_grad(), exchanged(model, fit, [0, 1], by_teacher=True):
        replaced = model(inputs, None, mode="predict")
    torch.testing.assert_close(replaced, own, rtol=1e-3, atol=1e-3)
    with torch.no_grad(), exchanged(model, fit, [0, 1], by_teacher=False):
        one, other = (model(images(1, seed=s), None, mode="predict")[0] for s in (7, 8))
    torch.testing.assert_close(one, other)  # nothing of the image is left


def test_a_teachers_map_of_another_size_is_brought_to_the_students(pair):
    model = pair(student_tap="neck.convs.1", teacher_tap="neck.convs.0")
    fit, inputs = fitted(model), images(2, seed=7)
    own = neck(model, inputs)
    with exchanged(model, fit, [0, 1], by_teacher=True):
        changed = neck(model, inputs)
    assert torch.equal(changed[0], own[0])
    assert changed[1].shape == own[1].shape == (2, 4, 4, 4)
    assert not torch.allclose(changed[1], own[1], atol=1e-2)


def test_an_image_that_is_not_taken_whole_is_refused(pair):
    model = pair()
    fit = fitted(model)
    original = model.student.forward

    def in_two_windows(inputs, data_samples=None, mode="tensor"):
        original(inputs[..., :4], data_samples, mode)
        return original(inputs[..., 4:], data_samples, mode)

    model.student.forward = in_two_windows
    with (
        exchanged(model, fit, [0], by_teacher=False),
        pytest.raises(ConfigError, match=r"takes an image as a whole.*'neck'.*mode='whole'"),
    ):
        model(images(2), None, mode="predict")


def test_one_image_is_too_few(pair):
    model = pair()
    (compared,) = compared_taps(model)
    with pytest.raises(ConfigError, match="two or more training images, got 1"):
        fit_taps(model, compared, [(images(1), None)], EDGES)
