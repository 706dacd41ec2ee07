# RetinaNet-PVTv2-B2 (44.6 AP) teaches RetinaNet-R50, whose neck and head start from its weights.
_base_ = "retina_r50_2x_coco.py"

method = "published"
teacher_metric = dict(bbox_mAP=0.446)
model = dict(
    teacher=dict(
        model="mmdet::pvt/retinanet_pvtv2-b2_fpn_1x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/pvt/retinanet_pvtv2-b2_fpn_1x_coco/"
        "retinanet_pvtv2-b2_fpn_1x_coco_20210901_174843-529f0b9a.pth",
    ),
    inherit=("neck", "bbox_head"),
)
