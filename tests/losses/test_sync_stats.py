"""Batch statistics over two gloo ranks: loss and gradients of one rank with both batches."""

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from fourierkd.losses.fourier import FourierLoss
from fourierkd.spectral.distance import spectral_distance

CHANNELS = 5


def make_case(dtype=torch.float64):
    """Two batches of unlike size and scale, so that statistics of one rank would be wrong."""
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(6, CHANNELS, 7, 8, generator=generator, dtype=dtype)
    student[3:] = 3 * student[3:] + 1
    teacher = 0.5 * student + torch.randn(student.shape, generator=generator, dtype=dtype)
    return student, teacher


def make_loss(**options):
    torch.manual_seed(0)
    loss = FourierLoss(CHANNELS, noise=False, loss_weight=3.0, **options).double()
    if loss.atfm is not None:
        with torch.no_grad():
            loss.atfm.mix_logit.normal_()
    return loss


def step(loss, student, teacher, factor=1.0):
    """Value, and gradients at the student and the parameters, with an upstream factor (AMP's)."""
    student = student.clone().requires_grad_()
    value = loss(student, teacher)
    gradients = torch.autograd.grad(value * factor, [student, *loss.parameters()])
    return [value.detach(), *(g / factor for g in gradients)]


OPTIONS = {
    "all": {},
    "mask": {"mask": {"type": "LowPass", "cutoff": 0.5}},
    "no_sphere": {"sphere_radius": None, "fusion": False},
}


def with_full_plane_noise(student, teacher, noise, *, sync):
    """Value and gradient where X_S is not the spectrum of a real map."""
    student = student.clone().requires_grad_()
    value = spectral_distance(student, teacher, noise=noise, sync_stats=sync)
    return [value.detach(), *torch.autograd.grad(value, student)]


def full_plane_noise(student):
    return torch.rand(
        student.shape, generator=torch.Generator().manual_seed(1), dtype=student.dtype
    )


def as_rank(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    student, teacher = make_case()
    own = slice(3 * rank, 3 * rank + 3)
    results = {}
    for name, options in OPTIONS.items():
        for sync in (True, False):
            loss = make_loss(sync_stats=sync, **options)
            results[name, sync] = step(loss, student[own], teacher[own], factor=64.0)
    noise = full_plane_noise(student)[own]
    results["noise"] = with_full_plane_noise(student[own], teacher[own], noise, sync=True)
    # maps of another height on each rank, as detection batches have them
    rows = 7 - 2 * rank
    results["ragged"] = step(
        make_loss(sync_stats=True), student[own][:, :, :rows], teacher[own][:, :, :rows]
    )
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks computed."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        multiprocessing.spawn(as_rank, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", OPTIONS)
def test_synchronised_statistics_equal_one_rank_with_both_batches(ranks, name):
    value, at_student, *at_parameters = step(make_loss(**OPTIONS[name]), *make_case())
    one, two = (r[name, True] for r in ranks)
    torch.testing.assert_close((one[0] + two[0]) / 2, value)
    # each rank's loss is a mean over half of the images
    torch.testing.assert_close(torch.cat([one[1], two[1]]) / 2, at_student)
    for a, b, whole in zip(one[2:], two[2:], at_parameters, strict=True):
        torch.testing.assert_close((a + b) / 2, whole)  # what DDP makes of them


def test_noise_of_the_full_plane_is_synchronised_as_well(ranks):
    student, teacher = make_case()
    noise = full_plane_noise(student)
    value, gradient = with_full_plane_noise(student, teacher, noise, sync=False)
    one, two = (r["noise"] for r in ranks)
    torch.testing.assert_close((one[0] + two[0]) / 2, value)
    torch.testing.assert_close(torch.cat([one[1], two[1]]) / 2, gradient)


@pytest.mark.parametrize("name", OPTIONS)
def test_by_default_each_rank_has_the_loss_of_its_own_batch(ranks, name):
    student, teacher = make_case()
    for rank, results in enumerate(ranks):
        own = slice(3 * rank, 3 * rank + 3)
        alone = step(make_loss(**OPTIONS[name]), student[own], teacher[own])
        for a, b in zip(results[name, False], alone, strict=True):
            torch.testing.assert_close(a, b)
        assert abs(results[name, True][0] - alone[0]) > 1e-3 * alone[0]


def test_gradient_of_synchronised_ragged_maps_is_that_of_the_sum(ranks):
    ragged = [r["ragged"] for r in ranks]
    assert ragged[0][1].shape != ragged[1][1].shape
    value, gradients = ragged_reference()
    torch.testing.assert_close(sum(r[0] for r in ragged), value)
    for result, gradient in zip(ragged, gradients, strict=True):
        torch.testing.assert_close(result[1], gradient)


def ragged_reference():
    """Sum of both ranks' losses on the full spectrum by plain autograd, with pooled statistics."""
    loss = make_loss()
    student, teacher = make_case()
    maps = []
    for rank in range(2):
        own, rows = slice(3 * rank, 3 * rank + 3), 7 - 2 * rank
        maps.append((student[own][:, :, :rows].clone().requires_grad_(), teacher[own][:, :, :rows]))
    coordinates = [sphere_coordinates(s, t, loss) for s, t in maps]  # rank -> (3 ours, 3 theirs)
    total = 0.0
    for side_of in range(3):
        for_ranks = []
        for side in range(2):
            flat = [c[side][side_of].transpose(0, 1).flatten(1) for c in coordinates]  # (C, values)
            pooled = torch.cat(flat, 1)
            mean, variance = pooled.mean(1), pooled.var(1, correction=0)
            for_ranks.append(
                [
                    (c[side][side_of] - mean[:, None, None])
                    / (variance + 1e-5).sqrt()[:, None, None]
                    for c in coordinates
                ]
            )
        for (s, t), ours, theirs in zip(maps, *for_ranks, strict=True):
            tokens = 1 - torch.cosine_similarity(s.flatten(2), t.flatten(2), dim=2)
            total = total + (tokens[..., None, None] * (ours - theirs) ** 2).mean() / 2
    total = total * loss.loss_weight
    return total.detach(), torch.autograd.grad(total, [s for s, _ in maps])


def sphere_coordinates(student, teacher, loss):
    ours, theirs = (torch.fft.fft2(x, norm="ortho") for x in (loss.predictor(student), teacher))
    a = loss.atfm.mix_logit.sigmoid().view(1, -1, 1, 1)
    fused = a * loss.atfm.student_conv(ours.abs()) + (1 - a) * loss.atfm.teacher_conv(theirs.abs())

    def sphere(x):
        power = x.real**2 + x.imag**2
        return [y / (power + 1) for y in (2 * x.real, 2 * x.imag, power - 1)]

    return sphere(fused * torch.exp(1j * ours.angle())), sphere(theirs)


def test_without_a_process_group_the_switch_changes_nothing():
    case = make_case()
    for a, b in zip(step(make_loss(sync_stats=True), *case), step(make_loss(), *case), strict=True):
        assert torch.equal(a, b)
