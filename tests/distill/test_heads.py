"""Heads are observed, not computed again, and the IoU-aware loss has the value of its formulas."""

from __future__ import annotations

import copy
import math
from collections import Counter

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import nn

from fourierkd.distill.distiller import Distiller
from fourierkd.distill.head_samples import head_samples
from fourierkd.distill.heads import head_calls, pair_heads
from fourierkd.distill.registry import MODELS
from fourierkd.errors import ConfigError
from fourierkd.losses.iou_aware import IoUAwareLoss
from fourierkd.losses.samples import BoxSamples

STRIDES = [8, 16]
CLASSES = 2


class Detector(nn.Module):
    """Something that has a head."""

    def __init__(self, head):
        super().__init__()
        self.bbox_head = head


def build(**config):
    return Detector(MODELS.build({"_scope_": "mmdet", **config}))


def anchors(strides, scales=(1.0,), ratios=(1.0,)):
    return {
        "type": "AnchorGenerator",
        "strides": list(strides),
        "scales": list(scales),
        "ratios": list(ratios),
    }


def max_iou(pos=0.5, neg=0.4):
    return {"type": "MaxIoUAssigner", "pos_iou_thr": pos, "neg_iou_thr": neg, "min_pos_iou": 0}


def retina_head(strides=STRIDES, classes=CLASSES, **config):
    generator = anchors(strides, (1.0, 1.5), (0.5, 1.0))
    train = {"assigner": max_iou(), "allowed_border": -1, "pos_weight": -1}
    base = {
        "type": "mmdet.RetinaHead",
        "num_classes": classes,
        "in_channels": 4,
        "feat_channels": 4,
        "stacked_convs": 1,
        "anchor_generator": generator,
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_stds": (0.5, 0.5, 0.4, 0.4)},
        "train_cfg": {**train, "sampler": {"type": "PseudoSampler"}},
    }
    return build(**{**base, **config})


def rpn_head(strides=STRIDES, border=-1, **config):
    sampler = {"type": "RandomSampler", "num": 20, "pos_fraction": 0.5, "neg_pos_ub": -1}
    train = {"assigner": max_iou(0.7, 0.3), "allowed_border": border, "pos_weight": -1}
    base = {
        "type": "mmdet.RPNHead",
        "in_channels": 4,
        "feat_channels": 4,
        "anchor_generator": anchors(strides, (1.0,), (0.5, 1.0)),
        "train_cfg": {**train, "sampler": {**sampler, "add_gt_as_proposals": False}},
    }
    return build(**{**base, **config})


def points_head(strides=STRIDES, classes=CLASSES, transform="moment", **config):
    stage = {"allowed_border": -1, "pos_weight": -1}
    base = {
        "type": "mmdet.RepPointsHead",
        "num_classes": classes,
        "in_channels": 4,
        "feat_channels": 4,
        "point_feat_channels": 4,
        "stacked_convs": 1,
        "point_strides": list(strides),
        "point_base_scale": 1,
        "transform_method": transform,
        "train_cfg": {
            "init": {"assigner": {"type": "PointAssigner", "scale": 1, "pos_num": 1}, **stage},
            "refine": {"assigner": max_iou(), **stage},
        },
    }
    return build(**{**base, **config})


def truth(*boxes, labels=None):
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    classes = torch.zeros(len(tensor)) if labels is None else torch.tensor(labels)
    return InstanceData(bboxes=tensor, labels=classes.long())


def metas(n, size):
    return [{"img_shape": (size, size), "pad_shape": (size, size)} for _ in range(n)]


def iou_loss(student, teacher, outputs, maps, instances, size):
    """The loss of two heads: the student's from its outputs, the teacher's from its maps."""
    pairing = pair_heads("iou", BoxSamples, student, teacher, ("bbox_head", "bbox_head"))
    with head_calls(student, ["bbox_head"]) as calls:
        student.bbox_head.loss_by_feat(*outputs, instances, metas(len(instances), size))
    samples = head_samples(
        BoxSamples, student.bbox_head, teacher.bbox_head, calls["bbox_head"], maps, pairing.indices
    )
    return IoUAwareLoss()(*samples)


# On a 2 x 2 map of stride 8 with one 8 x 8 box per cell, the last is the object (4, 4, 12, 12); the
# student's box is the same, the teacher's (8, 4, 16, 12): IoU 1/3, and q = 1/6 at a score of 1/2.
POSITIVE = math.log(2) / 6
NEGATIVE = 0.75 * 0.25 * math.log(2)


def test_two_boxes_by_hand_retina():
    pair = [retina_head([8], anchor_generator=anchors([8]), bbox_coder=CODER) for _ in range(2)]
    shift = torch.zeros(1, 4, 2, 2)
    shift[0, 0] = 0.5  # half a box to the right
    scores = torch.zeros(1, 2, 2, 2, requires_grad=True)
    outputs = ([scores], [torch.zeros(1, 4, 2, 2)])
    loss = iou_loss(*pair, outputs, [scores.detach(), shift], [truth([4, 4, 12, 12])], 16)
    by_hand = 1.5 * (2 * POSITIVE + 3 * 2 * NEGATIVE)  # two classes; one positive sample
    assert loss.item() == pytest.approx(by_hand)


CODER = {"type": "DeltaXYWHBBoxCoder"}


@pytest.mark.parametrize(("border", "negatives"), [(-1, 3), (0, 0)])
def test_two_boxes_by_hand_rpn(border, negatives):
    pair = [rpn_head([8], border, anchor_generator=anchors([8])) for _ in range(2)]
    shift = torch.zeros(1, 4, 2, 2)
    shift[0, 0] = 0.5
    scores = torch.zeros(1, 1, 2, 2, requires_grad=True)
    outputs = ([scores], [torch.zeros(1, 4, 2, 2)])
    loss = iou_loss(*pair, outputs, [scores.detach(), shift], [truth([4, 4, 12, 12])], 16)
    # anchors across the border are no samples; MMDetection counts at least one negative sample
    by_hand = 1.5 * (POSITIVE + negatives * NEGATIVE) / (1 + max(negatives, 1))
    assert loss.item() == pytest.approx(by_hand)


def test_two_boxes_by_hand_reppoints():
    pair = [points_head([8], transform="minmax") for _ in range(2)]
    side = torch.tensor([-0.5, 0.0, 0.5])
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1)  # y, x in strides
    points = grid.reshape(1, 18, 1, 1).expand(1, 18, 2, 2)
    box = torch.tensor([0.0, -0.5, 1.0, 0.5]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    scores = torch.zeros(1, 2, 2, 2, requires_grad=True)
    outputs = ([scores], [points], [points])
    loss = iou_loss(*pair, outputs, [scores.detach(), box], [truth([4, 4, 12, 12])], 16)
    assert loss.item() == pytest.approx(1.5 * (2 * POSITIVE + 3 * 2 * NEGATIVE))


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def varifocal(z, q):
    p = sigmoid(z)
    if q > 0:
        return -q * (q * math.log(p) + (1 - q) * math.log(1 - p))
    return -0.75 * p**2 * math.log(1 - p)


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def decoded(anchor, delta, stds):
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx, dy, dw, dh = (d * s for d, s in zip(delta, stds, strict=True))
    x, y = (anchor[0] + anchor[2]) / 2 + dx * width, (anchor[1] + anchor[3]) / 2 + dy * height
    width, height = width * math.exp(dw), height * math.exp(dh)
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def moments(points, transfer):
    """A box from nine points [(y, x), ...]: mean -+ the unbiased deviation, scaled."""
    mean = [sum(p[k] for p in points) / 9 for k in (1, 0)]  # x, y
    half = [
        math.sqrt(sum((p[k] - m) ** 2 for p in points) / 8) * math.exp(t)
        for k, m, t in zip((1, 0), mean, transfer, strict=True)
    ]
    return [mean[0] - half[0], mean[1] - half[1], mean[0] + half[0], mean[1] + half[1]]


def looped(scores, teacher_scores, boxes, teacher_boxes, labels, weights, avg_factor, classes):
    """Sum over images, cells, anchors and classes; ``boxes(level, n, y, x, a)`` decodes one."""
    total = 0.0
    for level, score in enumerate(scores):
        n, channels, height, width = score.shape
        per_cell = channels // classes
        for sample in range(n * height * width * per_cell):
            cell, a = divmod(sample, per_cell)
            image, position = divmod(cell, height * width)
            y, x = divmod(position, width)
            label = int(labels[level].flatten()[sample])
            place = (level, image, y, x, a)
            overlap = iou(boxes(*place), teacher_boxes(*place)) if 0 <= label < classes else 0.0
            for c in range(classes):
                z = float(score.detach()[image, a * classes + c, y, x])
                t = float(teacher_scores[level][image, a * classes + c, y, x])
                w = float(weights[level].flatten()[sample])
                total += w * varifocal(z, overlap * sigmoid(t))
    return 1.5 * total / float(avg_factor)


TRUTH = [truth([3, 3, 13, 10], [10, 9, 30, 31], labels=[0, 1]), truth([0, 14, 9, 27], labels=[1])]


def features(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 4, 32 // s, 32 // s, generator=generator) for s in STRIDES]


def perturbed(detector, seed, gain=0.5):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * gain)
    return detector


@pytest.mark.parametrize(("make", "classes"), [(retina_head, CLASSES), (rpn_head, 1)])
def test_anchors_equal_a_plain_loop_on_random_inputs(make, classes):
    other = {"type": "DeltaXYWHBBoxCoder", "target_stds": (0.8, 0.9, 0.3, 0.2)}
    student, teacher = perturbed(make(), 1, 0.2), perturbed(make(bbox_coder=other), 2, 0.2).eval()
    ours, theirs = student.bbox_head, teacher.bbox_head
    outputs = ours(features(3))
    with torch.no_grad():
        answer = theirs(features(4))
    instances = [truth(*t.bboxes.tolist()) for t in TRUTH] if classes == 1 else TRUTH
    torch.manual_seed(0)  # RandomSampler
    loss = iou_loss(student, teacher, outputs, [*answer[0], *answer[1]], instances, 32)

    sizes = [score.shape[-2:] for score in outputs[0]]
    boxes, valid = ours.get_anchors(sizes, metas(2, 32), device="cpu")
    torch.manual_seed(0)
    labels, weights, _, _, avg_factor = ours.get_targets(boxes, valid, instances, metas(2, 32))

    def box_of(head, head_boxes):
        def box(level, image, y, x, a):
            per_cell = ours.num_base_priors
            anchor = boxes[0][level][(y * sizes[level][1] + x) * per_cell + a].tolist()
            delta = head_boxes[level][image, 4 * a : 4 * a + 4, y, x].tolist()
            return decoded(anchor, delta, head.bbox_coder.stds)

        return box

    tables = (outputs[0], answer[0], box_of(ours, outputs[1]), box_of(theirs, answer[1]))
    expected = looped(*tables, labels, weights, avg_factor, classes)
    assert sum(int((table < classes).sum()) for table in labels) > 2  # positives at hand
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_points_equal_a_plain_loop_on_random_inputs():
    student, teacher = perturbed(points_head(), 1), perturbed(points_head(), 2).eval()
    ours, theirs = student.bbox_head, teacher.bbox_head
    outputs = ours(features(3))
    with torch.no_grad():
        answer = theirs(features(4))
        theirs.train()
        answer_points = theirs(features(4))[2]
        theirs.eval()
    loss = iou_loss(student, teacher, outputs, [*answer[0], *answer[1]], TRUTH, 32)

    seen = []
    original = ours.get_targets
    ours.get_targets = lambda **kw: seen.append(original(**kw)) or seen[-1]
    ours.loss_by_feat(*outputs, TRUTH, metas(2, 32))
    labels, weights, _, _, _, avg_factor = seen[1]  # of the refine stage

    def box_of(head, offsets):
        def box(level, image, y, x, a):
            stride, flat = STRIDES[level], offsets[level][image, :, y, x].tolist()
            points = [
                (dy * stride + y * stride, dx * stride + x * stride)
                for dy, dx in zip(flat[::2], flat[1::2], strict=True)
            ]
            return moments(points, head.moment_transfer.tolist())

        return box

    tables = (outputs[0], answer[0], box_of(ours, outputs[2]), box_of(theirs, answer_points))
    expected = looped(*tables, labels, weights, avg_factor, CLASSES)
    assert sum(int((table < CLASSES).sum()) for table in labels) > 1
    assert not torch.equal(ours.moment_transfer, theirs.moment_transfer)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_levels_are_matched_by_stride_and_the_rest_is_named():
    student, teacher = retina_head([8, 16, 32]), retina_head([4, 8, 16])
    pairing = pair_heads("iou", BoxSamples, student, teacher, ("bbox_head", "bbox_head"))
    assert pairing.indices == [(0, 1), (1, 2)]
    assert pairing.left_out == ["student bbox_head stride 32", "teacher bbox_head stride 4"]


class OwnLoss(nn.Module):
    """A head of no family."""

    def loss_by_feat_single(self):
        pass


REFUSED = [
    (
        retina_head,
        points_head,
        r"heterogeneous.*RetinaHead \(anchor.*RepPointsHead \(refined.*alone",
    ),
    (points_head, rpn_head, r"heterogeneous.*RepPointsHead \(refined.*RPNHead \(anchor.*alone"),
    (retina_head, lambda: Detector(OwnLoss()), r"AnchorHead.*of RepPoints.*teacher OwnLoss"),
    (
        lambda: build(
            type="mmdet.ATSSHead", num_classes=2, in_channels=4, anchor_generator=anchors([8])
        ),
        retina_head,
        "student ATSSHead.*feature maps alone",
    ),
    (
        retina_head,
        lambda: build(
            type="mmdet.RetinaHead",
            num_classes=2,
            in_channels=4,
            loss_cls={"type": "CrossEntropyLoss"},
        ),
        "sigmoid.*teacher RetinaHead with softmax",
    ),
    (retina_head, lambda: retina_head(classes=3), r"same classes.*\[2, 3\]"),
    (retina_head, lambda: retina_head([32]), r"equal strides.*\[8, 16\].*\[32\]"),
    (
        retina_head,
        lambda: retina_head(anchor_generator=anchors(STRIDES)),
        "same anchors.*stride 8.*4 of up to.*1 of up to.*anchor_generator",
    ),
    (lambda: retina_head().requires_grad_(False), retina_head, "no gradient.*head is frozen"),
    (lambda: nn.Sequential(retina_head()), retina_head, "unknown student head.*0.bbox_head"),
]


@pytest.mark.parametrize(("student", "teacher", "message"), REFUSED)
def test_what_cannot_be_compared_is_refused_with_a_remedy(student, teacher, message):
    with pytest.raises(ConfigError, match=message):
        pair_heads("model.losses.iou", BoxSamples, student(), teacher(), ("bbox_head", "bbox_head"))


def test_methods_are_the_classes_own_again_even_after_an_error():
    student = retina_head()
    before = dict(vars(student.bbox_head))
    with head_calls(student, ["bbox_head"]):
        assert "loss_by_feat_single" in vars(student.bbox_head)
        with pytest.raises(TypeError):
            student.bbox_head.loss_by_feat_single()
    assert vars(student.bbox_head) == before

    def failing():
        with head_calls(student, ["bbox_head"]):
            student.bbox_head.loss_by_feat_single()

    with pytest.raises(TypeError):
        failing()
    assert vars(student.bbox_head) == before


def narrow(name, **head):
    """A detector of MMDetection's own, R18 of base width 4, for 64 x 64 pixels and 3 classes."""
    small = {
        "backbone.depth": 18,
        "backbone.base_channels": 4,
        "backbone.stem_channels": 4,
        "backbone.init_cfg": None,
        "backbone.frozen_stages": -1,
        "backbone.norm_eval": False,
        "neck.in_channels": [4, 8, 16, 32],
        "neck.out_channels": 8,
        "data_preprocessor.pad_size_divisor": 64,
    }
    return {"config": f"mmdet::{name}", "overrides": {**small, **head}}


BBOX_HEAD = {"bbox_head.in_channels": 8, "bbox_head.feat_channels": 8, "bbox_head.num_classes": 3}
RETINA = narrow("retinanet/retinanet_r50_fpn_1x_coco.py", **BBOX_HEAD)
REPPOINTS = narrow(
    "reppoints/reppoints-moment_r50_fpn_1x_coco.py",
    **BBOX_HEAD,
    **{"bbox_head.point_feat_channels": 8, "bbox_head.stacked_convs": 1},
)
FASTER = narrow(
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    **{
        "rpn_head.in_channels": 8,
        "rpn_head.feat_channels": 8,
        "roi_head.bbox_roi_extractor.out_channels": 8,
        "roi_head.bbox_head.in_channels": 8,
        "roi_head.bbox_head.fc_out_channels": 8,
        "roi_head.bbox_head.num_classes": 3,
    },
)
PAIRS = {"retina": (RETINA, "bbox_head"), "faster": (FASTER, "rpn_head")}
PAIRS["reppoints"] = (REPPOINTS, "bbox_head")


def distiller(family, **entry):
    model, head = PAIRS[family]
    torch.manual_seed(5)
    losses = {
        "fourier": {"student_tap": "neck", "teacher_tap": "neck", "loss": {"type": "FourierLoss"}},
        "iou": {
            "student_head": head,
            "teacher_head": head,
            "loss": {"type": "IoUAwareLoss", "loss_weight": 1.5},
            **entry,
        },
    }
    return Distiller(model, {"model": model, "checkpoint": "random"}, losses).train()


def step(model, batch):
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    return losses, model.parse_losses(losses)[0]


def count(calls, module, *methods):
    """Count the calls of an instance's methods."""
    for name in methods:
        original = getattr(module, name)

        def counted(*args, _original=original, _name=name, **kwargs):
            calls[_name] += 1
            return _original(*args, **kwargs)

        setattr(module, name, counted)


families = pytest.mark.parametrize("family", sorted(PAIRS))


@families
def test_a_whole_step(family, det_batch):
    model, head = distiller(family), PAIRS[family][1]
    student, teacher = (m.get_submodule(head) for m in (model.student, model.teacher.model))
    ours, theirs = Counter(), Counter()
    count(ours, student, "get_targets", "forward", "loss_by_feat")
    count(theirs, teacher, "get_targets", "forward", "loss_by_feat", "predict_by_feat")
    losses, total = step(model, det_batch())
    assert math.isfinite(total.detach())
    assert losses["distill.iou.loss"] > 0
    assert losses["distill.fourier.loss"] > 0
    # RepPoints assigns twice in its own loss, for the initial and the refined points
    assert ours == {"get_targets": 1 + (family == "reppoints"), "forward": 1, "loss_by_feat": 1}
    assert theirs == {"forward": 1}  # no labels, no boxes sorted or suppressed
    losses["distill.iou.loss"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert model.student.backbone.conv1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.model.parameters())


@families
def test_the_students_own_losses_and_draws_are_untouched(family, det_batch):
    model = distiller(family)
    bare = copy.deepcopy(model.student)
    torch.manual_seed(6)
    own = step(bare, det_batch())[0]
    drawn = torch.rand(2)
    torch.manual_seed(6)
    losses = step(model, det_batch())[0]
    for key, value in own.items():
        expected = torch.stack(value) if isinstance(value, list) else value
        found = torch.stack(losses[key]) if isinstance(value, list) else losses[key]
        assert torch.equal(expected, found)
    del model.losses["fourier"], model._terms["fourier"]  # which draws its noise
    torch.manual_seed(6)
    step(model, det_batch())
    assert torch.equal(drawn, torch.rand(2))


@families
def test_a_batch_without_objects(family, det_batch):
    model, batch = distiller(family), det_batch()
    for sample in batch["data_samples"]:
        sample.gt_instances = truth()
    losses, total = step(model, batch)
    assert math.isfinite(total.detach())
    assert losses["distill.iou.loss"] > 0  # scores of the background are pushed down
    total.backward()


def test_bfloat16_autocast(det_batch):
    model = distiller("retina")
    full = step(model, det_batch())[0]["distill.iou.loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, total = step(model, det_batch())
    assert losses["distill.iou.loss"].dtype == torch.float32
    assert losses["distill.iou.loss"].item() == pytest.approx(full.item(), rel=0.1)
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.student.bbox_head.parameters())


# On the CPU MMCV has neither deformable convolution nor suppression in bfloat16: heads alone.
@pytest.mark.parametrize("make", [retina_head, rpn_head, points_head])
def test_heads_in_bfloat16(make):
    student, teacher = perturbed(make(), 1, 0.2), perturbed(make(), 2, 0.2).eval()
    instances = [truth(*t.bboxes.tolist()) for t in TRUTH]
    values = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.no_grad():
            answer = teacher.bbox_head(features(4))
            outputs = student.bbox_head(features(3))
        maps = [m.to(dtype) for part in answer for m in part]
        outputs = [[m.to(dtype).requires_grad_() for m in part] for part in outputs]
        torch.manual_seed(0)  # RandomSampler
        values.append(iou_loss(student, teacher, outputs, maps, instances, 32))
    assert values[1].dtype == torch.float32
    assert values[1].item() == pytest.approx(values[0].item(), rel=0.05)
    values[1].backward()
    assert outputs[0][0].grad.dtype == torch.bfloat16


def test_prediction_and_state_are_the_students(det_batch):
    model = distiller("retina")
    assert not list(model.losses["iou"].parameters())
    assert not [key for key in model.state_dict() if "iou" in key]
    before = {k: v.clone() for k, v in model.student.state_dict().items()}
    model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(det_batch(), False)
        ours = model(**copy.deepcopy(data), mode="predict")
        theirs = model.student(**data, mode="predict")
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.pred_instances.bboxes, b.pred_instances.bboxes)
    assert all(torch.equal(before[k], v) for k, v in model.student.state_dict().items())
    clone = copy.deepcopy(model).train()  # as EMA does
    step(clone, det_batch())
    assert "forward" not in vars(clone.teacher.model.bbox_head)
    assert "loss_by_feat_single" not in vars(clone.student.bbox_head)


def test_warmup_features_and_gradient_shares(det_batch):
    from fourierkd.engine.hooks.scalars import distillation_scalars

    model = distiller("retina", warmup_iters=4)
    MessageHub.get_current_instance().update_info("iter", 4)
    full = step(model, det_batch())[0]["distill.iou.loss"]
    MessageHub.get_current_instance().update_info("iter", 1)
    model.keep_gradients = model.keep_features = True
    losses, total = step(model, det_batch())
    assert 0 < losses["distill.iou.loss"] < full
    total.backward()
    assert list(model.last_features) == ["fourier"]
    scalars = distillation_scalars(model)
    assert 0 < scalars["distill/iou/gradient_share"] < 1
    assert not [key for key in scalars if key.startswith("distill/iou/mix")]


def test_the_pair_of_the_paper_without_this_branch_is_named_at_build():
    entry = {"student_head": "bbox_head", "teacher_head": "bbox_head"}
    losses = {"iou": {**entry, "loss": {"type": "IoUAwareLoss"}}}
    teacher = {"model": REPPOINTS, "checkpoint": "random"}
    with pytest.raises(ConfigError, match="remove model.losses.iou.*as the paper does"):
        Distiller(RETINA, teacher, losses)


HEADS = {"student_head": "bbox_head", "teacher_head": "bbox_head", "loss": {"type": "IoUAwareLoss"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"connector": "auto"}, "unknown key of model.losses.iou.*'connector'.*student_head"),
        ({"student_tap": "neck"}, "unknown key of model.losses.iou.*'student_tap'"),
        ({"student_head": ["bbox_head"]}, r"student_head is a module path, got \['bbox_head'\]"),
        ({"teacher_head": None}, "teacher_head is a module path"),
        ({"warmup_iters": -1}, "warmup_iters"),
        ({"loss": {"type": "IoUAwareLoss", "num_points": 9}}, "unknown key.*'num_points'"),
        ({"loss": {"type": "IoUAwareLoss", "loss_weight": 0}}, "loss_weight must be above 0"),
        ({"loss": {"type": "FourierLoss"}}, "unknown key of model.losses.iou.*_head'"),
        ({"teacher_head": "box_head"}, "unknown teacher head.*'box_head'.*bbox_head"),
        ({"student_head": "box_head"}, "unknown student head.*'box_head'.*bbox_head"),
        ({"loss": {"type": "IoUAwareLoss", "loss_weight": [1.5, 1.5]}}, "a finite number"),
    ],
)
def test_each_wrong_entry_is_a_named_error(change, message):
    teacher = {"model": RETINA, "checkpoint": "random"}
    with pytest.raises(ConfigError, match=message):
        Distiller(RETINA, teacher, {"iou": {**HEADS, **change}})


@pytest.mark.parametrize("key", ["student_head", "teacher_head"])
def test_both_heads_are_named(key):
    entry = {k: v for k, v in HEADS.items() if k != key}
    with pytest.raises(ConfigError, match=f"model.losses.iou needs a {key}"):
        Distiller(RETINA, {"model": RETINA, "checkpoint": "random"}, {"iou": entry})


def test_a_segmentation_head_is_refused(psp):
    losses = {"iou": {**HEADS, "student_head": "decode_head", "teacher_head": "decode_head"}}
    with pytest.raises(ConfigError, match=r"RetinaNet, RPN\) or of RepPoints.*student PSPHead"):
        Distiller(psp(), {"model": psp(), "checkpoint": "random"}, losses)


def test_a_teacher_in_train_mode_and_maps_of_other_sizes_are_named(det_batch):
    model = distiller("reppoints")
    model.teacher.model.train()  # a RepPoints head then gives points, not boxes
    with pytest.raises(ConfigError, match="keep the teacher in eval mode"):
        step(model, det_batch())
    student, teacher = retina_head(), retina_head()
    with torch.no_grad():
        outputs = student.bbox_head(features(3))
        answer = teacher.bbox_head([m[:, :, 1:] for m in features(4)])
    with pytest.raises(ConfigError, match="maps of one size"):
        iou_loss(student, teacher, outputs, [*answer[0], *answer[1]], TRUTH, 32)


def test_the_head_of_a_teacher_ends_its_forward(det_batch):
    """Alone, without a tap: nothing behind the RPN runs."""
    model, head = PAIRS["faster"]
    losses = {"iou": {**HEADS, "student_head": head, "teacher_head": head}}
    built = Distiller(model, {"model": model, "checkpoint": "random"}, losses).train()
    calls = Counter()
    count(calls, built.teacher.model.rpn_head, "forward", "predict_by_feat")
    count(calls, built.teacher.model.roi_head, "forward")
    losses, total = step(built, det_batch())
    assert calls == {"forward": 1}
    assert set(built.losses) == {"iou"}
    assert not built.connectors
    assert losses["distill.iou.loss"] > 0
    total.backward()
