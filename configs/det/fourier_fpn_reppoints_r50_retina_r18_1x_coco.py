# RepPoints-R50 (38.6 AP) teaches RetinaNet-R18: other heads, so the Fourier branch alone.
_base_ = "retina_r18_1x_coco.py"

method = "published"
taps = dict(head=None)  # other heads
teacher_metric = dict(bbox_mAP=0.386)
model = dict(
    teacher=dict(
        model="mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/reppoints/reppoints_moment_r50_fpn_gn-neck%2Bhead_2x_coco/"
        "reppoints_moment_r50_fpn_gn-neck%2Bhead_2x_coco_20200329-91babaa2.pth",
    ),
)
