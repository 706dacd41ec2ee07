# RetinaNet-X101-64x4d (41.0 AP) teaches RetinaNet-R50, whose neck and head start from its weights.
_base_ = "retina_r50_2x_coco.py"

method = "published"
teacher_metric = dict(bbox_mAP=0.410)
model = dict(
    teacher=dict(
        model="mmdet::retinanet/retinanet_x101-64x4d_fpn_1x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_x101_64x4d_fpn_1x_coco/"
        "retinanet_x101_64x4d_fpn_1x_coco_20200130-366f5af1.pth",
    ),
    inherit=("neck", "bbox_head"),
)
