"""The heads' numbers of classes against those of the training data, from a config alone."""

from __future__ import annotations

import pytest

from fourierkd.engine.class_counts import check_class_counts
from fourierkd.errors import ConfigError

SEG = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"
TWO_STAGE = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
CASCADE = "mmdet::cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py"


def config(student, classes, kind="mmdet.CocoDataset"):
    dataset = {"type": kind, "metainfo": {"classes": classes} if classes else {}}
    repeated = {"type": "RepeatDataset", "times": 2, "dataset": dataset}
    return {"model": {"student": student}, "train_dataloader": {"dataset": repeated}}


def heads(said):
    return [line.split("student's ")[1] for line in said]


def test_equal_numbers_are_fine():
    assert check_class_counts(config(TWO_STAGE, None)) == []  # COCO's 80; an RPN has one class
    assert check_class_counts(config(SEG, None, "mmseg.CityscapesDataset")) == []
    assert check_class_counts({"model": {"student": SEG}}) == []  # no data, nothing known


def test_more_classes_in_a_head_are_a_warning():
    more = "is more than the training data has"
    assert heads(check_class_counts(config(TWO_STAGE, ("a", "b")))) == [
        f"roi_head.bbox_head {more}: 80, and 2 classes"
    ]
    said = heads(check_class_counts(config(CASCADE, ("a", "b"))))
    assert [line.split()[0] for line in said] == [
        "roi_head.bbox_head.0",
        "roi_head.bbox_head.1",
        "roi_head.bbox_head.2",
        "roi_head.mask_head",
    ]
    said = check_class_counts(config(SEG, ("road", "car"), "mmseg.CityscapesDataset"))
    assert heads(said) == [
        f"{name} {more}: 19, and 2 classes" for name in ("decode_head", "auxiliary_head")
    ]


def test_what_a_head_takes_by_default_counts():
    """A two-stage head of the user's own without ``num_classes`` has COCO's."""
    student = {
        "type": "mmdet.FasterRCNN",
        "rpn_head": {"type": "RPNHead", "num_classes": 1},
        "roi_head": {"type": "StandardRoIHead", "bbox_head": {"type": "Shared2FCBBoxHead"}},
    }
    (line,) = check_class_counts(config(student, ("a", "b")))
    assert "num_classes of the student's roi_head.bbox_head is more" in line
    assert line.endswith("80, and 2 classes")


@pytest.mark.parametrize(
    ("student", "kind"), [(TWO_STAGE, "mmdet.CocoDataset"), (SEG, "mmseg.BaseSegDataset")]
)
def test_fewer_classes_in_a_head_are_refused(student, kind):
    classes = tuple(map(str, range(81)))
    with pytest.raises(ConfigError, match="num_classes of the student's .* must be .*, 81, got"):
        check_class_counts(config(student, classes, kind))


def test_softmax_over_one_output_is_refused():
    def head(**keys):
        student = {"type": "mmseg.EncoderDecoder", "decode_head": {"type": "FCNHead", **keys}}
        return config(student, ("a",), "mmseg.BaseSegDataset")

    sigmoid = {"type": "CrossEntropyLoss", "use_sigmoid": True}
    assert check_class_counts(head(num_classes=1, loss_decode=sigmoid)) == []
    softmax = {"type": "CrossEntropyLoss", "use_sigmoid": False}
    for losses in ({"loss_decode": softmax}, {"loss_decode": [sigmoid, softmax]}, {}):
        with pytest.raises(ConfigError, match="softmax over one output .*num_classes"):
            check_class_counts(head(num_classes=1, **losses))
    with pytest.raises(ConfigError, match="softmax over one output"):
        check_class_counts(head(num_classes=2, out_channels=1, loss_decode=softmax))
    # one class of objects is as good as any: a detector has its background
    assert check_class_counts(config({"type": "mmdet.RetinaNet", "bbox_head": {
        "type": "RetinaHead", "num_classes": 1}}, ("a",))) == []  # fmt: skip
