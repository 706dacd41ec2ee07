# The student alone; the distilled runs start from this file, so that only the distillation differs.
# It learns from 20 labelled images with six or seven small objects each, the teacher from all 400.
_base_ = [
    "../_base_/shapes_small_seg.py",
    "../_base_/shapes_small_pspnets.py",
    "../_base_/schedule.py",
]

model = dict(type="Distiller", student={{_base_._student}})
_iters = 720
_lr = 1.6e-2  # at the 4e-3 of the schedule some seeds begin to learn when it ends (docs/results.md)

train_dataloader = dict(batch_size=4, dataset=dict(indices=20))
train_cfg = dict(max_iters=_iters, val_interval=144)
optim_wrapper = dict(optimizer=dict(lr=_lr))
param_scheduler = dict(total_steps=_iters, eta_max=_lr)
