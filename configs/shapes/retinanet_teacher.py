# The teacher detector: trained once by a study, on the same data and twice the schedule of the
# student.
_base_ = [
    "../_base_/shapes_det.py",
    "../_base_/shapes_retinanets.py",
    "../_base_/schedule.py",
]
_iters = 600

model = dict(type="Distiller", student={{_base_._teacher}})
train_cfg = dict(max_iters=_iters, val_interval=200)
param_scheduler = dict(total_steps=_iters)
