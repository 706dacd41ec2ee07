# RepPoints-X101-DCN (44.2 AP) teaches RepPoints-R50, whose neck and head start from its weights.
_base_ = "reppoints_r50_2x_coco.py"

method = "published"
teacher_metric = dict(bbox_mAP=0.442)
model = dict(
    teacher=dict(
        model="mmdet::reppoints/reppoints-moment_x101-dconv-c3-c5_fpn-gn_head-gn_2x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco/"
        "reppoints_moment_x101_fpn_dconv_c3-c5_gn-neck%2Bhead_2x_coco_20200329-f87da1ea.pth",
    ),
    inherit=("neck", "bbox_head"),
)
