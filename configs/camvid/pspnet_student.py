# The student alone on CamVid; the distilled runs start from this file, so that only the
# distillation differs.
_base_ = [
    "../_base_/camvid.py",
    "../_base_/camvid_pspnets.py",
    "../_base_/schedule.py",
]
_iters = 400

model = dict(type="Distiller", student={{_base_._student}})
train_cfg = dict(max_iters=_iters, val_interval=100)
param_scheduler = dict(total_steps=_iters)
