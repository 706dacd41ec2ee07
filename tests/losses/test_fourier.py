import doctest
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import fourierkd.losses.fourier as fourier_module
from fourierkd.errors import ConfigError
from fourierkd.losses.fourier import FourierLoss, Fusion, cosine_distance, fourier_loss
from fourierkd.losses.spectral_l2 import SpectralL2
from fourierkd.spectral import blocks, distance
from fourierkd.spectral.half import half_noise
from fourierkd.spectral.masks import OrientationSectors, mask_weights

sys.path.insert(0, str(Path(__file__).parent))
from reference import full_plane, full_spectrum_loss

SIZES = [(6, 8), (5, 7), (6, 7), (5, 8), (1, 9), (1, 8), (7, 1), (2, 2)]


def maps(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(shape, generator=generator, dtype=dtype)
    teacher = 0.5 * student + torch.randn(shape, generator=generator, dtype=dtype)
    return student.requires_grad_(), teacher


def make_loss(channels, dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    loss = FourierLoss(channels, **{"noise": False, **options})
    if loss.atfm is not None:
        with torch.no_grad():
            loss.atfm.mix_logit.normal_()
    return loss.to(dtype)


def value_and_gradients(value, student, loss):
    return [value.detach(), *torch.autograd.grad(value, [student, *loss.parameters()])]


def assert_same(ours, reference, tolerance):
    for a, b in zip(ours, reference, strict=True):
        scale = b.abs().max().clamp_min(1e-12)
        assert (a - b).abs().max() <= tolerance * scale, (a.shape, (a - b).abs().max() / scale)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compat", ["fixed", "paper_code"])
def test_equals_full_spectrum_reference(size, compat):
    # odd N and C: rolling forward and back differ
    student, teacher = maps(3, 5, *size)
    loss = make_loss(5, compat=compat, loss_weight=3.0)
    reference = full_spectrum_loss(student, teacher, loss, shift_all_axes=compat == "paper_code")
    ours = value_and_gradients(loss(student, teacher), student, loss)
    assert_same(ours, value_and_gradients(reference, student, loss), 1e-9)


def condition(gradients, exact):
    """How much larger the error of each result is than that of every number on the way to it.

    ``gradients(rounded)``: value and gradients in float64. The rounding is played with random
    errors of ``size`` times the map's rms, far above float64's own; the worst of four draws, and at
    least 1, as the result is rounded too.
    """
    size, generator = 1e-7, torch.Generator().manual_seed(0)

    def rounded(x):
        rms = x.detach().square().mean((2, 3), keepdim=True).sqrt()
        return x + size * rms * torch.randn(x.shape, generator=generator, dtype=x.dtype)

    draws = [gradients(rounded) for _ in range(4)]
    return [
        max(1.0, *(((d[i] - x).abs().max() / x.abs().max() / size).item() for d in draws))
        for i, x in enumerate(exact)
    ]


PARTS = {  # a switch of FourierLoss -> what the reference is told, beside what it sees by itself
    "fusion": {},
    "predictor": {},
    "similarity": {"similarity": False},
    "normalize": {"normalize": False},
    "sphere_radius": {"radius": None},
}
WITHOUT = [
    *([part] for part in PARTS),
    ["fusion", "sphere_radius"],
    ["sphere_radius", "normalize"],
    ["fusion", "normalize"],
    [part for part in PARTS if part != "normalize"],
    list(PARTS),
]


def without(parts):
    """Arguments of FourierLoss and of the reference with parts left out."""
    ours = {part: None if part == "sphere_radius" else False for part in parts}
    return ours, {key: value for part in parts for key, value in PARTS[part].items()}


@pytest.mark.parametrize("compat", ["fixed", "paper_code"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (2, 2), (7, 1)])
@pytest.mark.parametrize("parts", WITHOUT, ids="-".join)
def test_each_part_can_be_left_out(parts, size, compat):
    student, teacher = maps(3, 5, *size)
    mask = OrientationSectors((0.2, 1.0, 3.0))
    ours, theirs = without(parts)
    # without a sphere amplitudes reach further: noise would hide a wrong sign at -k
    for noise in (False, True):
        loss = make_loss(5, compat=compat, mask=mask, noise=noise, loss_weight=3.0, **ours)
        values = with_the_same_noise(student, teacher, loss)
        weights = full_plane(mask_weights(mask, *size, dtype=torch.float64), size[1])
        options = {"mask": weights, **theirs}
        torch.manual_seed(3)
        if compat == "paper_code":
            options.update(mask=torch.fft.fftshift(weights), shift_all_axes=True)
            drawn = torch.rand(3, 5, *size, dtype=torch.float64)
        else:
            half = torch.empty(3, 5, size[0], size[1] // 2 + 1, dtype=torch.float64)
            drawn = full_plane(half_noise(half, size[1]), size[1])
        reference = full_spectrum_loss(
            student, teacher, loss, noise=drawn if noise else None, **options
        )
        assert_same(values, value_and_gradients(reference, student, loss), 1e-9)


@pytest.mark.parametrize("parts", WITHOUT, ids="-".join)
def test_gradcheck_without_parts_and_no_parameter_is_left_alone(parts):
    student, teacher = maps(2, 3, 4, 5)
    loss = make_loss(3, **without(parts)[0])
    parameters = tuple(loss.parameters())
    assert torch.autograd.gradcheck(lambda s, *_: loss(s, teacher), (student, *parameters))
    # a process of DDP waits for the gradient of every parameter
    loss(student, teacher).backward()
    assert all(parameter.grad is not None for parameter in parameters)
    left = {"predictor": "predictor", "fusion": "atfm"}.items()
    expected = {module for part, module in left if part not in parts}
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == expected


def test_without_all_parts_it_is_half_of_spectral_l2():
    student, teacher = maps(2, 3, 6, 7)
    options, _ = without(PARTS)
    for mask in (None, {"type": "LowPass", "cutoff": 0.5}):
        loss = make_loss(3, mask=mask, loss_weight=4.0, **options)
        plain = SpectralL2(2.0, mask=mask)
        assert_same(
            value_and_gradients(loss(student, teacher), student, loss),
            value_and_gradients(plain(student, teacher), student, plain),
            1e-9,
        )
        zero = torch.zeros_like(student).requires_grad_()  # no phase, so nothing is cut off there
        assert_same(
            value_and_gradients(loss(zero, teacher), zero, loss),
            value_and_gradients(plain(zero, teacher), zero, plain),
            1e-9,
        )


def test_a_single_value_has_a_distance_without_statistics():
    student, teacher = maps(1, 3, 1, 1)
    assert make_loss(3, normalize=False)(student, teacher).isfinite()


@pytest.mark.parametrize("compat", ["fixed", "paper_code"])
@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
def test_equals_reference_in_float32(compat, scale):
    # The order of additions, and so every rounding, is the library's and the processor's. A
    # statistic of the normalisation, and a parameter's gradient, adds up n = N H (W/2 + 1) terms;
    # the errors of n additions stay below c sqrt(n) units in the last place with probability 1 - 2
    # n exp(-c^2 / 2) (Higham and Mary, SIAM J. Sci. Comput. 2019, theorem 2.4): c = 6 fails once
    # in 200 000 times. The condition then says what becomes of them: about 100 at scale 1, and
    # 10 000 at the ends, where all points crowd at a pole of the sphere, and a phase at small |F|
    # is not sharp.
    student, teacher = maps(2, 8, 12, 10, dtype=torch.float32)
    student = (student.detach() * scale).requires_grad_()
    teacher = teacher * scale
    loss = make_loss(8, torch.float32, compat=compat)
    ours = value_and_gradients(loss(student, teacher), student, loss)
    loss, exact = loss.double(), student.detach().double().requires_grad_()

    def reference(rounded=lambda x: x):
        value = full_spectrum_loss(
            exact,
            teacher.double(),
            loss,
            shift_all_axes=compat == "paper_code",
            rounded=rounded,
        )
        return value_and_gradients(value, exact, loss)

    expected = reference()
    unit = torch.finfo(torch.float32).eps / 2
    additions = 2 * 12 * (10 // 2 + 1)
    for a, b, c in zip(ours, expected, condition(reference, expected), strict=True):
        assert_same([a], [b], 6 * additions**0.5 * unit * c)


def test_compat_modes_differ():
    student, teacher = maps(2, 4, 6, 6)
    fixed = make_loss(4)(student, teacher)
    assert abs(make_loss(4, compat="paper_code")(student, teacher) - fixed) > 1e-3 * fixed


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_mask_and_radius_equal_reference(size):
    student, teacher = maps(2, 3, *size)
    mask = OrientationSectors((0.2, 1.0, 3.0))
    loss = make_loss(3, mask=mask, sphere_radius=2.5)
    weights = mask_weights(mask, *size, dtype=torch.float64)
    reference = full_spectrum_loss(
        student, teacher, loss, mask=full_plane(weights, size[1]), radius=2.5
    )
    ours = value_and_gradients(loss(student, teacher), student, loss)
    assert_same(ours, value_and_gradients(reference, student, loss), 1e-9)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 6)])
def test_noise_equals_reference_with_the_same_noise(size):
    student, teacher = maps(2, 3, *size)
    loss = make_loss(3, noise=True)
    torch.manual_seed(5)
    ours = value_and_gradients(loss(student, teacher), student, loss)
    torch.manual_seed(5)
    half = half_noise(torch.empty(2, 3, size[0], size[1] // 2 + 1, dtype=torch.float64), size[1])
    reference = full_spectrum_loss(student, teacher, loss, noise=full_plane(half, size[1]))
    assert_same(ours, value_and_gradients(reference, student, loss), 1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_noise_of_the_published_code_is_that_of_the_full_plane(size):
    """One number for every frequency of the shifted plane, in the order in which it draws them."""
    student, teacher = maps(3, 5, *size)
    loss = make_loss(5, noise=True, compat="paper_code", mask={"type": "Gaussian"})
    torch.manual_seed(5)
    ours = value_and_gradients(loss(student, teacher), student, loss)
    torch.manual_seed(5)
    noise = torch.rand(3, 5, *size, dtype=torch.float64)
    weights = full_plane(mask_weights(loss.mask, *size, dtype=torch.float64), size[1])
    options = {"mask": torch.fft.fftshift(weights), "shift_all_axes": True}
    reference = full_spectrum_loss(student, teacher, loss, noise=noise, **options)
    assert_same(ours, value_and_gradients(reference, student, loss), 1e-9)


def test_blocks_do_not_change_the_loss_on_the_full_plane(monkeypatch):
    student, teacher = maps(2, 7, 5, 6)
    loss = make_loss(7, noise=True, compat="paper_code")
    whole = with_the_same_noise(student, teacher, loss)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 2 * 5 * 6 * 3)  # three channels a block
    assert_same(with_the_same_noise(student, teacher, loss), whole, 1e-12)


@pytest.mark.parametrize("compat", ["fixed", "paper_code"])
def test_noise_follows_the_default_generator_and_varies(compat):
    student, teacher = maps(2, 3, 6, 6)
    loss = make_loss(3, noise=True, compat=compat)
    torch.manual_seed(1)
    first, second = loss(student, teacher), loss(student, teacher)
    torch.manual_seed(1)
    assert torch.equal(loss(student, teacher), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("options", [{}, {"compat": "paper_code"}, {"mask": {"type": "Gaussian"}}])
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 4)])
def test_gradcheck(size, options):
    student, teacher = maps(2, 3, *size)
    loss = make_loss(3, **options)
    parameters = tuple(loss.parameters())
    assert torch.autograd.gradcheck(lambda s, *_: loss(s, teacher), (student, *parameters))


def test_gradcheck_of_all_inputs_of_the_function():
    torch.manual_seed(0)
    shapes = ((2, 3, 4, 5), (3, 6), (3,), (2, 3))
    inputs = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]
    teacher = torch.randn(2, 3, 4, 5, dtype=torch.float64)

    def value(predicted, weight, bias, tokens):
        return distance.spectral_distance(
            predicted, teacher, fusion=(weight, bias), tokens=tokens, radius=0.7
        )

    assert torch.autograd.gradcheck(value, inputs)


def test_gradcheck_at_zero_student_features():
    # only the predictor's bias is left, at DC; all other frequencies of its output are rounding
    _, teacher = maps(2, 3, 4, 5)
    student = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    loss = make_loss(3)
    assert torch.autograd.gradcheck(lambda *_: loss(student, teacher), tuple(loss.parameters()))


def test_gradcheck_at_zero_teacher_features():
    student, _ = maps(2, 3, 4, 5)
    loss = make_loss(3)
    teacher = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    inputs = (student, *loss.parameters())
    assert torch.autograd.gradcheck(lambda s, *_: loss(s, teacher), inputs)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_is_finite_and_moderate_at_zero_features(dtype, bias):
    student, teacher = maps(2, 3, 7, 6, dtype=dtype)
    loss = make_loss(3, dtype)
    reference = value_and_gradients(loss(student, teacher), student, loss)
    loss.predictor.bias.data.fill_(bias)
    zero = torch.zeros_like(student).requires_grad_()
    value, *gradients = value_and_gradients(loss(zero, teacher), zero, loss)
    assert value.isfinite()
    for gradient, usual in zip(gradients, reference[1:], strict=True):
        assert gradient.isfinite().all()
        assert gradient.abs().max() <= 100 * usual.abs().max()
    if bias == 0:  # every |F| is 0: phase 0 and no gradient
        assert gradients[0].abs().max() == 0


def test_blocks_do_not_change_the_loss(monkeypatch):
    student, teacher = maps(2, 7, 5, 6)
    loss = make_loss(7)
    whole = value_and_gradients(loss(student, teacher), student, loss)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 2 * 5 * 4 * 3)  # three channels a block
    assert_same(value_and_gradients(loss(student, teacher), student, loss), whole, 1e-12)


@pytest.fixture
def four_blocks(monkeypatch):
    """(student, teacher, loss) of seven channels in four blocks, two channels a block."""
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 2 * 5 * 4 * 2)
    torch.set_num_threads(1)
    return (*maps(2, 7, 5, 6), make_loss(7, noise=True))


def with_the_same_noise(student, teacher, loss):
    torch.manual_seed(3)
    return value_and_gradients(loss(student, teacher), student, loss)


def test_blocks_in_several_threads_are_equal_to_the_last_bit(four_blocks, monkeypatch):
    """Each thread takes whole blocks and is alone in them, and the noise is drawn before."""
    alone = with_the_same_noise(*four_blocks)
    each, used = blocks.each, set()

    def in_three_threads(function, pieces):
        def watched(block):
            used.add(threading.get_ident())
            assert torch.get_num_threads() == 1
            assert not torch.is_grad_enabled()
            function(block)

        assert len(pieces) == 4
        torch.set_num_threads(3)
        each(watched, pieces)
        assert torch.get_num_threads() == 3
        torch.set_num_threads(1)  # the matrix products add up in another order with more

    monkeypatch.setattr(blocks, "each", in_three_threads)
    together = with_the_same_noise(*four_blocks)
    assert used
    assert threading.get_ident() not in used
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_threads_change_no_more_than_the_rounding_of_the_matrix_products(four_blocks):
    alone = with_the_same_noise(*four_blocks)
    torch.set_num_threads(3)
    assert_same(with_the_same_noise(*four_blocks), alone, 1e-12)


def test_an_error_in_a_thread_is_the_calls_error(monkeypatch):
    def fail(*arguments):
        raise RuntimeError("out of memory")

    student, teacher = maps(2, 7, 5, 6)
    loss = make_loss(7)
    monkeypatch.setattr(blocks, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(distance, "_block_distance", fail)
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="out of memory"):
        loss(student, teacher)
    assert torch.get_num_threads() == 2


def test_function_equals_module():
    student, teacher = maps(2, 3, 4, 6)
    loss = make_loss(3, loss_weight=2.0)
    value = fourier_loss(
        student,
        teacher,
        predictor=(loss.predictor.weight.flatten(1), loss.predictor.bias),
        fusion=Fusion(
            (loss.atfm.student_conv.weight.flatten(1), loss.atfm.student_conv.bias),
            (loss.atfm.teacher_conv.weight.flatten(1), loss.atfm.teacher_conv.bias),
            loss.atfm.mix_logit,
        ),
        noise=False,
    )
    assert torch.equal(2 * value, loss(student, teacher))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("compat", ["fixed", "paper_code"])
def test_predictor_and_connector_as_one_convolution_change_nothing(bias, compat):
    narrow, teacher = maps(3, 2, 6, 5)[0], maps(3, 7, 6, 5)[1]
    loss = make_loss(7, compat=compat)
    connector = torch.nn.Conv2d(2, 7, 1, bias=bias, dtype=torch.float64)
    results = []
    for before in (None, (narrow, connector)):
        value = loss(connector(narrow), teacher, before=before)
        inputs = [narrow, *connector.parameters(), *loss.parameters()]
        results.append([value.detach(), *torch.autograd.grad(value, inputs)])
    assert_same(results[1], results[0], 1e-9)


@pytest.mark.parametrize(("channels", "narrow", "size"), [(64, 16, 16), (64, 64, 4), (64, 48, 4)])
def test_the_cheaper_order_is_taken(channels, narrow, size):
    loss, connector = FourierLoss(channels), torch.nn.Conv2d(narrow, channels, 1)
    source = torch.randn(2, narrow, size, size, requires_grad=True)
    teacher = torch.randn(2, channels, size, size)
    flops = []
    for before in (None, (source, connector)):
        with FlopCounterMode(display=False) as counter:
            loss(connector(source), teacher, before=before).backward()
        flops.append(counter.get_total_flops())
    pixels = 2 * size * size
    if narrow * (channels + pixels) < channels * pixels:
        assert flops[1] < 0.75 * flops[0]
    else:
        assert flops[1] == flops[0]


def test_backward_twice_gives_the_same_and_scales_with_the_weight():
    student, teacher = maps(2, 3, 4, 6)
    value = make_loss(3)(student, teacher)
    (first,) = torch.autograd.grad(value, student, retain_graph=True)
    (second,) = torch.autograd.grad(5 * value, student)
    torch.testing.assert_close(5 * first, second)


def test_identical_features_have_no_loss():
    student, _ = maps(2, 3, 4, 6)
    assert make_loss(3)(student, student.detach()).item() == pytest.approx(0, abs=1e-12)


def test_invariant_to_a_common_half_turn():
    # f(-x) has the conjugate spectrum: imaginary coordinates change sign on both sides
    def turn(x):
        return x.flip((2, 3)).roll((1, 1), (2, 3))

    student, teacher = maps(2, 3, 5, 6)
    loss = make_loss(3)
    torch.testing.assert_close(loss(turn(student), turn(teacher)), loss(student, teacher))


def test_cosine_distance():
    student, teacher = maps(2, 3, 4, 5)
    cosine = torch.cosine_similarity(student.flatten(2), teacher.flatten(2), dim=2)
    torch.testing.assert_close(cosine_distance(student, teacher), 1 - cosine)
    assert torch.autograd.gradcheck(lambda s: cosine_distance(s, teacher), student)
    zero = torch.zeros_like(student).requires_grad_()
    assert torch.equal(cosine_distance(zero, teacher), torch.ones(2, 3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(cosine_distance(zero, teacher).sum(), zero)
    assert torch.equal(gradient, torch.zeros_like(zero))


def test_value_by_hand():
    # 1 x 2 maps have two real frequencies: F = (x + y, x - y) / sqrt 2. Student (1, 0): F = (r, r),
    # r = sqrt 0.5; teacher (0, 1): F = (r, -r). Orthogonal, so w = 1. With identity fusion A_f = r
    # = A_T. Only the first coordinate differs: constant for the student -> BN 0; +-s for the
    # teacher with s = 2 r / 1.5, so BN = +-s / sqrt(s^2 + eps), and the loss is s^2 / (s^2 + 1e-5)
    # / 2.
    loss = FourierLoss(1, noise=False)
    with torch.no_grad():
        for conv in (loss.predictor, loss.atfm.student_conv, loss.atfm.teacher_conv):
            conv.weight.fill_(1)
            conv.bias.zero_()
    s2 = (2 * 0.5**0.5 / 1.5) ** 2
    value = loss(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]]))
    assert value.item() == pytest.approx(s2 / (s2 + 1e-5) / 2, rel=1e-5)


@pytest.mark.parametrize("resize_stu", [True, False])
@pytest.mark.parametrize("size", [(6, 4), (4, 6), (3, 9)])
def test_sizes_are_matched(size, resize_stu):
    student, _ = maps(2, 3, *size)
    _, teacher = maps(2, 3, 6, 6)
    value = make_loss(3, resize_stu=resize_stu)(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    assert gradient.shape == student.shape
    assert gradient.abs().sum() > 0


def test_no_gradient_to_the_teacher():
    student, teacher = maps(2, 3, 4, 4)
    teacher.requires_grad_()
    make_loss(3)(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_detach_similarity_stops_the_gradient_through_the_tokens():
    student, teacher = maps(2, 3, 4, 4)
    loss, detached = make_loss(3), make_loss(3, detach_similarity=True)
    assert torch.equal(loss(student, teacher), detached(student, teacher))
    for model in (loss, detached):  # a predictor that ignores its input leaves only the tokens
        model.predictor.weight.data.zero_()
    assert torch.autograd.grad(loss(student, teacher), student)[0].abs().sum() > 0
    assert torch.autograd.grad(detached(student, teacher), student)[0].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_precision_are_computed_in_float32(dtype):
    student, teacher = maps(2, 4, 6, 7, dtype=torch.float32)
    loss = make_loss(4, torch.float32)
    low = student.detach().to(dtype).requires_grad_()
    expected = loss(low.detach().float(), teacher.to(dtype).float())
    with torch.autocast("cpu", dtype=dtype):
        value = loss(low, teacher.to(dtype))
        value.backward()
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert low.grad.dtype == dtype
    assert low.grad.isfinite().all()


def test_masks_apply_after_the_normalisation():
    # statistics of the whole spectrum: two complementary bands add up to the unmasked loss
    student, teacher = maps(2, 3, 8, 8)
    parts = 0.0
    for kind in ("LowPass", "HighPass"):
        loss = make_loss(3, mask={"type": kind, "cutoff": 0.6})
        weights = mask_weights(loss.mask, 8, 8, dtype=torch.float64)
        parts = parts + loss(student, teacher) / weights.max()
    torch.testing.assert_close(parts, make_loss(3)(student, teacher))


def test_stateless_and_any_memory_format():
    loss = make_loss(3)
    assert not list(loss.buffers())
    student, teacher = maps(2, 3, 4, 6)
    strided = student.detach().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(loss(strided, teacher), loss(student, teacher))
    with torch.inference_mode():
        loss(student, teacher)
    loss(student, teacher).backward()


def test_parameter_counts():
    for channels, count in ((256, 197_632),):
        assert sum(p.numel() for p in FourierLoss(channels).parameters()) == count
    assert sorted(FourierLoss(2).state_dict()) == [
        "atfm.mix_logit",
        "atfm.student_conv.bias",
        "atfm.student_conv.weight",
        "atfm.teacher_conv.bias",
        "atfm.teacher_conv.weight",
        "predictor.bias",
        "predictor.weight",
    ]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"in_channels": 0}, "in_channels must be"),
        ({"in_channels": 2.0}, "in_channels must be"),
        ({"loss_weight": -1.0}, "loss_weight must be"),
        ({"loss_weight": float("nan")}, "loss_weight must be"),
        ({"loss_weight": "7"}, "loss_weight must be"),
        ({"sphere_radius": 0.0}, "sphere_radius must be.*sphere_radius=None for no sphere"),
        ({"sphere_radius": float("inf")}, "sphere_radius must be"),
        ({"noise": 1}, "noise must be"),
        ({"fusion": None}, "fusion must be"),
        ({"predictor": 0}, "predictor must be"),
        ({"similarity": "cosine"}, "similarity must be"),
        ({"normalize": 1.0}, "normalize must be"),
        ({"resize_stu": None}, "resize_stu must be"),
        ({"detach_similarity": "no"}, "detach_similarity must be"),
        ({"compat": "paper-code"}, "did you mean 'paper_code'"),
        ({"mask": {"type": "LowPas"}}, "did you mean 'LowPass'"),
    ],
)
def test_bad_arguments(options, rule):
    with pytest.raises(ConfigError, match=rule):
        FourierLoss(**options)


@pytest.mark.parametrize(
    ("student", "teacher", "rule"),
    [
        (torch.zeros(2, 4, 4, 4), torch.zeros(2, 4, 4, 4), "in_channels=3"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4), "agree in"),
        (torch.zeros(2, 3, 4, 4), [torch.zeros(2, 3, 4, 4)] * 2, "call the loss once a level"),
        (torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), r"map \(N, C, H, W\)"),
        (torch.zeros(0, 3, 4, 4), torch.zeros(0, 3, 4, 4), "non-empty map"),
        (torch.zeros(2, 3, 4, 4).long(), torch.zeros(2, 3, 4, 4), "float dtype"),
        (None, None, "must be a map"),
        (torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1), "more than one value"),
    ],
)
def test_bad_features(student, teacher, rule):
    with pytest.raises(ConfigError, match=rule):
        FourierLoss(3)(student, teacher)


def test_docstring_examples():
    assert doctest.testmod(fourier_module).failed == 0
