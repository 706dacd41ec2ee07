# Faster R-CNN-R50 alone; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = ["../_base_/coco.py", "../_base_/schedule_coco_2x.py"]

taps = dict(pyramid="neck", head="rpn_head")
model = dict(
    type="Distiller",
    student="mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py",
)
