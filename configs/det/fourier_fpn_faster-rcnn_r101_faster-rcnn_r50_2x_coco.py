# Faster R-CNN-R101 (39.8 AP) teaches Faster R-CNN-R50, whose neck and heads start from its weights.
_base_ = "faster-rcnn_r50_2x_coco.py"

method = "published"
teacher_metric = dict(bbox_mAP=0.398)
model = dict(
    teacher=dict(
        model="mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r101_fpn_2x_coco/"
        "faster_rcnn_r101_fpn_2x_coco_bbox_mAP-0.398_20200504_210455-1d2dac9c.pth",
    ),
    inherit=("neck", "rpn_head", "roi_head"),
)
