# GFL-R101 (44.7 AP) teaches GFL-R50 where the sides of a box lie: a pair of LD (CVPR 2022), and
# none of FourierKD's. Nothing is inherited there.
_base_ = "gfl_r50_1x_coco.py"

method = "ld"
teacher_metric = dict(bbox_mAP=0.447)
model = dict(
    teacher=dict(
        model="mmdet::gfl/gfl_r101_fpn_ms-2x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/gfl/gfl_r101_fpn_mstrain_2x_coco/"
        "gfl_r101_fpn_mstrain_2x_coco_20200629_200126-dd12f847.pth",
    ),
)
