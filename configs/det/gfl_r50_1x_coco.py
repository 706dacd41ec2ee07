# GFL-R50 alone; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = ["../_base_/coco.py", "../_base_/schedule_coco_1x.py"]

taps = dict(pyramid="neck", head="bbox_head")
model = dict(
    type="Distiller",
    student="mmdet::gfl/gfl_r50_fpn_1x_coco.py",
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
