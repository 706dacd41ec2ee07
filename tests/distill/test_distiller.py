"""A step is the student's own losses plus the named ones; the teacher is frozen and apart."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.model_config import build_model
from fourierkd.distill.registry import MODELS
from fourierkd.distill.teacher import FrozenTeacher
from fourierkd.errors import ConfigError

L2 = {"type": "FeatureL2", "loss_weight": 2.0}
PIXELS = {"mean": [120.0] * 3, "std": [60.0] * 3, "bgr_to_rgb": True}
FOURIER = {"type": "FourierLoss", "loss_weight": 0.5}
TAPS = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}


def random_teacher(model):
    return {"model": model, "checkpoint": "random"}


@pytest.fixture
def pair(psp):
    """A PSPNet pair of unequal widths with two losses on one tap."""

    def make(**entry):
        torch.manual_seed(3)
        losses = {"fourier": {**TAPS, "loss": FOURIER, **entry}, "l2": {**TAPS, "loss": L2}}
        return Distiller(psp(8), random_teacher(psp(16)), losses)

    return make


@pytest.fixture
def toys(toy):
    """A toy pair with one loss on its two-level neck."""

    def make(student=None, teacher=None, **entry):
        base = {"student_tap": "neck", "teacher_tap": "neck", "loss": L2}
        return Distiller(
            toy(**(student or {})),
            random_teacher(toy(**(teacher or {}))),
            {"l2": {**base, **entry}},
        )

    return make


def step(model, batch):
    data = model.data_preprocessor(batch, True)
    losses = model(**data, mode="loss")
    return losses, model.parse_losses(losses)[0]


def test_a_step_sums_the_students_losses_and_the_named_ones(pair, seg_batch):
    model = pair().train()
    losses, total = step(model, seg_batch())
    assert set(losses) == {
        "decode.loss_ce",
        "decode.acc_seg",
        "distill.fourier.loss",
        "distill.l2.loss",
    }
    parts = [losses[k] for k in losses if "loss" in k]
    assert float(total.detach()) == pytest.approx(sum(float(part.detach()) for part in parts))
    assert all(float(part.detach()) > 0 for part in parts)
    total.backward()
    assert model.student.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0
    assert model.connectors["fourier"][0].weight.grad.abs().sum() > 0
    assert model.losses["fourier"][0].predictor.weight.grad.abs().sum() > 0


def test_students_share_a_teacher_that_is_ready(psp, seg_batch):
    ready = FrozenTeacher(psp(16), "random", ["backbone.layer4", "backbone.layer3"])
    losses = {"l2": {**TAPS, "loss": L2}}
    models = []
    for teacher in (ready, ready, random_teacher(psp(16))):
        torch.manual_seed(3)
        models.append(Distiller(psp(8), teacher, losses).eval())
    assert models[0].teacher is models[1].teacher is ready
    models[2].teacher.model.load_state_dict(ready.model.state_dict())
    values = [step(model, seg_batch())[0]["distill.l2.loss"] for model in models]
    assert values[0] == values[1] == values[2] > 0
    with pytest.raises(ConfigError, match=r"gives the taps that it was made with.*layer2"):
        Distiller(psp(8), ready, {"l2": {**losses["l2"], "teacher_tap": "backbone.layer2"}})
    with pytest.raises(ConfigError, match="teacher and losses come together"):
        Distiller(psp(8), ready, {})


def test_gradient_of_a_loss_alone_reaches_the_students_tap(pair, seg_batch):
    model = pair().train()
    losses, _ = step(model, seg_batch())
    losses["distill.fourier.loss"].backward()
    assert model.student.backbone.layer4[0].conv1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.student.decode_head.parameters())


def test_the_named_loss_is_the_loss_module_on_the_taps(pair, seg_batch):
    model = pair().eval()
    model.keep_features = True
    losses, _ = step(model, seg_batch())
    ((student, teacher),) = model.last_features["l2"]
    assert student.shape == teacher.shape == (2, 128, 4, 4)
    assert not student.requires_grad
    assert torch.allclose(losses["distill.l2.loss"], model.losses["l2"][0](student, teacher))
    data = model.data_preprocessor(seg_batch(), True)
    own = model.student.backbone(data["inputs"])[3]
    assert torch.allclose(student, model.connectors["l2"][0](own), atol=1e-6)
    assert torch.equal(teacher, model.teacher.model.backbone(data["inputs"])[3])
    model.keep_features = False
    step(model, seg_batch())
    assert model.last_features == {}


def test_the_student_draws_and_learns_as_a_bare_student_with_the_same_seed(psp, pair, seg_batch):
    torch.manual_seed(3)
    bare = build_model(psp(8), role="student").train()
    drawn = torch.rand(3)
    model = pair().train()
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(4)
    bare.init_weights()
    expected, _ = step(bare, seg_batch())
    torch.manual_seed(4)
    model.init_weights()
    losses, _ = step(model, seg_batch())
    assert torch.equal(losses["decode.loss_ce"], expected["decode.loss_ce"])
    torch.manual_seed(3)
    alone = Distiller(psp(8))
    torch.manual_seed(4)
    alone.init_weights()
    same, _ = step(alone.train(), seg_batch())
    assert set(same) == set(expected)
    assert torch.equal(same["decode.loss_ce"], expected["decode.loss_ce"])


def test_one_forward_of_the_student_and_a_stopped_forward_of_the_teacher(toys):
    model = toys().train()
    for one in (model.student, model.teacher.model):
        one.calls.update(stem=0, head=0)
    model(torch.rand(2, 3, 8, 8), mode="loss")
    assert model.student.calls == {"stem": 1, "head": 2}
    assert model.teacher.model.calls == {"stem": 1, "head": 0}
    model(torch.rand(2, 3, 8, 8), mode="tensor")
    assert model.teacher.model.calls["stem"] == 1


def test_the_teacher_is_frozen_and_no_part_of_the_model(pair, seg_batch):
    model = pair().train()
    teacher = model.teacher.model
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    optim = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    logs = [model.train_step(seg_batch(), optim) for _ in range(2)]
    assert not torch.equal(logs[0]["loss"], logs[1]["loss"])
    assert not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())
    mine = {id(p) for p in model.parameters()}
    assert not mine & {id(p) for p in teacher.parameters()}
    assert {k.split(".")[0] for k in model.state_dict()} == {"student", "losses", "connectors"}
    state = {f"student.{k}" for k in model.student.state_dict()}
    assert state <= set(model.state_dict())


def test_the_teacher_moves_and_copies_with_the_distiller(pair, seg_batch):
    model = pair()
    clone = copy.deepcopy(model)
    assert clone.teacher.model is not model.teacher.model
    model.to(torch.float64)
    assert next(model.teacher.model.parameters()).dtype == torch.float64
    assert next(clone.teacher.model.parameters()).dtype == torch.float32
    model.to("meta")
    assert next(model.teacher.model.parameters()).is_meta
    clone.train()
    losses, _ = step(clone, seg_batch())
    assert losses["distill.fourier.loss"].item() > 0


def test_predict_is_the_student_alone(pair, seg_batch):
    model = pair().eval()
    model.teacher = None  # any use of it would fail
    data = model.data_preprocessor(seg_batch(), False)
    result = model(**data, mode="predict")
    assert result[0].pred_sem_seg.data.shape == (1, 32, 32)
    assert torch.equal(result[0].seg_logits.data, model.val_step(seg_batch())[0].seg_logits.data)


def test_warmup_follows_the_runners_iteration(toys):
    plain = toys()
    model = toys(warmup_iters=4)
    model.load_state_dict(plain.state_dict())
    model.teacher = plain.teacher
    image = torch.rand(1, 3, 8, 8)
    full = plain.eval()(image, mode="loss")["distill.l2.loss"].item()
    hub = MessageHub.get_current_instance()
    for iteration, share in [(0, 0.0), (1, 0.25), (3, 0.75), (4, 1.0), (100, 1.0)]:
        hub.update_info("iter", iteration)
        got = model.eval()(image, mode="loss")["distill.l2.loss"].item()
        assert got == pytest.approx(full * share)
    hub.pop_info("iter")
    with pytest.raises(ConfigError, match=r"warmup_iters needs the iteration"):
        model(image, mode="loss")


def test_warmup_goes_on_after_a_resume(toy, tmp_path):
    entry = {"student_tap": "neck", "teacher_tap": "neck", "loss": L2, "warmup_iters": 4}
    seen = []

    class Spy(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            term = runner.model._terms["l2"]
            seen.append((runner.iter, runner.model._ramp("l2", term)))

    def run(iters, resume):
        torch.manual_seed(0)
        model = Distiller(toy(), random_teacher(toy()), {"l2": entry})
        images = [{"inputs": torch.rand(3, 8, 8)} for _ in range(8)]
        runner = Runner(
            model,
            str(tmp_path),
            train_dataloader=DataLoader(images, collate_fn=pseudo_collate),
            train_cfg={"type": "IterBasedTrainLoop", "max_iters": iters},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "by_epoch": False}},
            custom_hooks=[Spy()],
            resume=resume,
            log_level="ERROR",
            experiment_name=f"warmup_{iters}",
        )
        runner.train()

    run(2, resume=False)
    run(6, resume=True)
    assert seen == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0), (5, 1.0)]


def test_every_level_has_its_own_loss_and_weight(toys):
    one = toys().eval()
    weighted = toys(loss={**L2, "loss_weight": [2.0, 20.0]}).eval()
    weighted.load_state_dict(one.state_dict())
    weighted.teacher = one.teacher
    one.keep_features = True
    image = torch.rand(1, 3, 8, 8)
    total = one(image, mode="loss")["distill.l2.loss"].item()
    levels = [
        float(loss(s, t))
        for loss, (s, t) in zip(one.losses["l2"], one.last_features["l2"], strict=True)
    ]
    assert len(levels) == 2
    assert total == pytest.approx(sum(levels))
    expected = levels[0] + 10 * levels[1]
    assert weighted(image, mode="loss")["distill.l2.loss"].item() == pytest.approx(expected)


def test_a_fourier_loss_takes_its_predictor_and_a_plain_connector_as_one(psp, seg_batch):
    """The value and the gradients stay; the matrix products are fewer."""
    torch.manual_seed(0)
    taps = {"student_tap": "backbone.layer4", "teacher_tap": "backbone.layer4"}
    entry = {**taps, "loss": {"type": "FourierLoss", "noise": False}}
    teacher = {"model": psp(32), "checkpoint": "random"}
    model = Distiller(psp(4), teacher, {"fourier": entry}).train()
    batch = model.data_preprocessor(seg_batch(8), True)
    model, batch["inputs"] = model.double(), batch["inputs"].double()
    convolution = model.connectors["fourier"][0]
    results, flops = [], []
    for connector in (nn.Sequential(convolution), convolution):  # a Sequential is left alone
        model.connectors["fourier"][0] = connector
        model.zero_grad()
        with FlopCounterMode(display=False) as counter:
            value = model(**batch, mode="loss")["distill.fourier.loss"]
            value.backward()
        trained = (model.student.backbone.layer4, convolution, model.losses)
        gradients = [p.grad.clone() for module in trained for p in module.parameters()]
        results.append([value.detach(), *gradients])
        flops.append(counter.get_total_flops())
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-8, atol=1e-10 * one.abs().max().item())
    assert flops[1] < flops[0]


def test_without_a_predictor_a_connector_stays_by_itself(pair, seg_batch):
    model = pair(loss={**FOURIER, "predictor": False, "noise": False}).train()
    losses, _ = step(model, seg_batch())
    losses["distill.fourier.loss"].backward()
    assert model.connectors["fourier"][0].weight.grad.abs().sum() > 0
    assert {name for name, _ in model.losses["fourier"][0].named_children()} == {"atfm"}


def test_a_list_of_taps_is_summed_with_a_connector_each(psp, seg_batch):
    taps = ["backbone.layer2", "backbone.layer4"]
    losses = {"fourier": {"student_tap": taps, "teacher_tap": taps, "loss": FOURIER}}
    model = Distiller(psp(8), random_teacher(psp(16)), losses).train()
    assert [c.out_channels for c in model.connectors["fourier"]] == [32, 128]
    assert [len(loss.atfm.mix_logit) for loss in model.losses["fourier"]] == [32, 128]
    assert step(model, seg_batch())[0]["distill.fourier.loss"].item() > 0


def test_gradient_shares_compare_the_gradients_at_the_tap(toys):
    model = toys().eval()
    model.keep_gradients = True
    image = torch.rand(1, 3, 8, 8)
    losses = model(image, mode="loss")
    sum(losses.values()).backward()
    share = model.gradient_shares()["l2"]
    with model._taps.capture(model.student) as features:
        own = model.student(image, mode="loss")["loss_toy"]
    theirs = model.teacher(image)["neck"]
    maps = features["neck"]
    kd = sum(loss(s, t) for loss, s, t in zip(model.losses["l2"], maps, theirs, strict=True))
    norms = [
        sum(float(g.square().sum()) for g in torch.autograd.grad(x, maps, retain_graph=True)) ** 0.5
        for x in (kd, own)
    ]
    assert share == pytest.approx(norms[0] / sum(norms), rel=1e-4)


def test_timers_name_the_parts(toys, toy):
    model = toys()
    model(torch.rand(1, 3, 8, 8), mode="loss")
    assert set(model.timers) == {"teacher", "student", "losses"}
    assert all(0 < seconds < 5 for seconds in model.timers.values())
    alone = Distiller(toy())
    alone(torch.rand(1, 3, 8, 8), mode="loss")
    assert set(alone.timers) == {"student", "losses"}


def test_autocast_reaches_the_teacher(toys):
    model = toys().eval()
    model.keep_features = True
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.rand(1, 3, 8, 8), mode="loss")
    assert {t.dtype for _, t in model.last_features["l2"]} == {torch.bfloat16}


def test_a_detector_pair_distils_on_every_level_of_its_neck(retina, det_batch):
    losses = {"fourier": {"student_tap": "neck", "teacher_tap": "neck", "loss": FOURIER}}
    model = MODELS.build(
        {
            "type": "Distiller",
            "student": retina(8),
            "teacher": random_teacher(retina(16, neck=24)),
            "losses": losses,
        }
    ).train()
    assert len(model.losses["fourier"]) == 5
    parsed, total = step(model, det_batch())
    assert {"loss_cls", "loss_bbox", "distill.fourier.loss"} <= set(parsed)
    total.backward()
    assert all(c.weight.grad.abs().sum() > 0 for c in model.connectors["fourier"])
    assert len(model.eval().val_step(det_batch())) == 2


def test_drop_path_of_the_teacher_is_off(psp, seg_batch):
    swin = {
        "type": "mmseg.EncoderDecoder",
        "data_preprocessor": psp()["data_preprocessor"],
        "backbone": {
            "type": "SwinTransformer",
            "embed_dims": 16,
            "depths": (1, 1, 1, 1),
            "num_heads": (1, 1, 1, 1),
            "drop_path_rate": 0.9,
            "window_size": 4,
        },
        "decode_head": {**psp()["decode_head"], "in_channels": 128},
        "test_cfg": {"mode": "whole"},
    }
    entry = {"student_tap": "backbone.layer4", "teacher_tap": "decode_head.bottleneck", "loss": L2}
    model = Distiller(psp(8), random_teacher(swin), {"l2": entry}).train()
    inputs = model.data_preprocessor(seg_batch(), True)["inputs"]
    first, second = (model.teacher(inputs)["decode_head.bottleneck"][0] for _ in range(2))
    assert torch.equal(first, second)
    model.teacher.model.train()
    assert not torch.equal(first, model.teacher(inputs)["decode_head.bottleneck"][0])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"student_tap": "nek"}, "unknown student tap.*did you mean 'neck'"),
        ({"teacher_tap": "nek"}, "unknown teacher tap.*did you mean 'neck'"),
        ({"student_tap": "head"}, None),
        ({"student_tap": "spare"}, "student tap is never called"),
        ({"student_tap": ["neck", "head"]}, r"as many student taps as teacher taps.*\[2, 1\]"),
        ({"student_tap": 3}, "student_tap is a module path"),
        ({"taps": "neck"}, "unknown key of model.losses.l2.*'taps'.*student_tap"),
        ({"warmup_iters": -1}, "warmup_iters is a whole number from 0 on.*-1"),
        ({"connector": "linear"}, "a connector is 'auto', None, conv1x1 or a registered module"),
        ({"loss": {"type": "FeatureL3"}}, "unknown class.*did you mean 'FeatureL2'"),
        ({"loss": {"type": "BaseDataPreprocessor"}}, "is a subclass of fourierkd.losses.base.MapL"),
        ({"loss": {"type": "FeatureL2", "loss_wieght": 1}}, "unknown key.*'loss_weight'"),
        ({"loss": {"type": "FeatureL2", "loss_weight": 0}}, "loss_weight must be above 0.*got 0"),
        (
            {"loss": {"type": "FeatureL2", "loss_weight": [1, 2, 3]}},
            "one weight a level.*2 weights",
        ),
        ({"loss": {"type": "FourierLoss", "in_channels": 9}}, "must be the teacher's 4.*got 9"),
        ({"loss": "FeatureL2"}, "names its class"),
    ],
)
def test_each_wrong_entry_is_a_named_error(toys, entry, message):
    if message is None:
        toys(**entry)  # levels and channels agree: fine
        return
    with pytest.raises(ConfigError, match=message):
        toys(**entry)


def test_levels_channels_and_gradients_are_checked_at_build(toys, psp):
    with pytest.raises(ConfigError, match=r"equal channels.*\(4, 6\).*connector='auto'"):
        toys(teacher={"width": 6}, connector=None)
    toys(student={"frozen": True})  # the neck itself still learns
    frozen = psp(8, frozen_stages=2)
    taps = {"student_tap": "backbone.layer2", "teacher_tap": "backbone.layer2"}
    with pytest.raises(ConfigError, match=r"l2 gives no gradient.*frozen.*'backbone.layer2'"):
        Distiller(frozen, random_teacher(psp(8)), {"l2": {**taps, "loss": L2}})
    Distiller(psp(8, frozen_stages=1), random_teacher(psp(8)), {"l2": {**taps, "loss": L2}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "model needs a student"),
        ({"student": 1}, "a model is a config name"),
        ({"teacher": {"model": {"type": "TapModel"}, "checkpoint": "random"}}, "come together"),
        ({"losses": {"a": {}}}, "come together"),
        ({"teachr": None}, "unknown key of model.*did you mean 'teacher'"),
        ({"teacher": {"model": {"type": "TapModel"}}, "losses": "full"}, "needs its checkpoint"),
        ({"teacher": {"modle": 1}, "losses": "full"}, "unknown key of model.teacher.*'model'"),
        ({"teacher": {"checkpoint": "x"}, "losses": "full"}, "model.teacher needs a model"),
        ({"losses": {"keys": {}}, "teacher": {"model": 1}}, "a plain name.*'keys'"),
        ({"losses": {"a": {"loss": L2}}, "teacher": {"model": 1}}, "needs a student_tap"),
    ],
)
def test_wrong_arguments_are_named_errors(toy, arguments, message):
    if arguments.get("losses") == "full":
        arguments = {
            **arguments,
            "losses": {"l2": {"student_tap": "neck", "teacher_tap": "neck", "loss": L2}},
        }
    if arguments:
        arguments = {"student": toy(), **arguments}
    with pytest.raises(ConfigError, match=message):
        Distiller(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.0] * 3}, r"mean is \[0.0"),
        ({"mean": None, "std": None}, "mean is None"),  # pixels from 0 to 255, as YOLOX has them
        ({"bgr_to_rgb": False}, "False"),
    ],
)
def test_other_pixel_statistics_of_the_teacher_are_refused(psp, change, message):
    teacher = psp(8)
    teacher["data_preprocessor"].update(change)
    with pytest.raises(ConfigError, match=f"prepare images alike.*{message}"):
        Distiller(psp(8), random_teacher(teacher), {"l2": {**TAPS, "loss": L2}})


def test_a_detector_may_teach_a_segmentor(psp, retina):
    teacher = retina(16)
    pixels = {f"data_preprocessor.{key}": value for key, value in PIXELS.items()}
    teacher["overrides"].update(pixels)
    model = Distiller(psp(8), random_teacher(teacher), {"l2": {**TAPS, "loss": L2}})
    assert model.connectors["l2"][0].out_channels == 128


RETINA = "mmdet::retinanet/retinanet_{}.py"
REPPOINTS = "mmdet::reppoints/reppoints-moment_{}_fpn-gn_head-gn_2x_coco.py"
FASTER = "mmdet::faster_rcnn/faster-rcnn_{}_fpn_1x_coco.py"
PSPNET = "mmseg::pspnet/pspnet_{}-d8_4xb2-80k_cityscapes-512x1024.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "student", "tap", "parameters"),
    [
        (REPPOINTS.format("x101-dconv-c3-c5"), REPPOINTS.format("r50"), "neck", 5 * 197_632),
        (FASTER.format("r101"), FASTER.format("r50"), "neck", 5 * 197_632),
        (REPPOINTS.format("r50"), RETINA.format("r18_fpn_1x_coco"), "neck", 5 * 197_632),
        (PSPNET.format("r101"), PSPNET.format("r18"), "backbone.layer4", 12_591_104),
        (
            PSPNET.format("r101"),
            PSPNET.format("r18").replace("pspnet", "deeplabv3"),
            "backbone.layer4",
            12_591_104,
        ),
    ],
)
def test_published_pairs_are_built_from_their_names(teacher, student, tap, parameters):
    entry = {"student_tap": tap, "teacher_tap": tap, "loss": FOURIER}
    model = Distiller(student, random_teacher(teacher), {"fourier": entry})
    assert sum(p.numel() for p in model.losses.parameters()) == parameters
    model.eval()
    images = torch.rand(1, 3, 128, 128)
    assert {m.ndim for m in model.teacher(images)[tap]} == {4}
