# RetinaNet-R101 (38.9 AP) teaches RetinaNet-R50, whose neck and head start from its weights.
_base_ = "retina_r50_2x_coco.py"

method = "published"
teacher_metric = dict(bbox_mAP=0.389)
model = dict(
    teacher=dict(
        model="mmdet::retinanet/retinanet_r101_fpn_2x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r101_fpn_2x_coco/"
        "retinanet_r101_fpn_2x_coco_20200131-5560aee8.pth",
    ),
    inherit=("neck", "bbox_head"),
)
