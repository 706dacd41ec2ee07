# RepPoints-R50 alone; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = ["../_base_/coco.py", "../_base_/schedule_coco_2x.py"]

taps = dict(pyramid="neck", head="bbox_head")
model = dict(
    type="Distiller",
    student="mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_2x_coco.py",
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
