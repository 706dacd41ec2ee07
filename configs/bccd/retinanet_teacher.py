# The BCCD teacher: trained once by a study, on the same 150 images and twice the schedule of the
# student.
_base_ = [
    "../_base_/bccd.py",
    "../_base_/bccd_retinanets.py",
    "../_base_/schedule.py",
]
_iters = 600

model = dict(type="Distiller", student={{_base_._teacher}})
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_iters=_iters, val_interval=200)
param_scheduler = dict(total_steps=_iters, eta_max=2e-3)
