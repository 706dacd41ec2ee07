# The CamVid teacher: trained once by a study, on the same 300 frames.
_base_ = [
    "../_base_/camvid.py",
    "../_base_/camvid_pspnets.py",
    "../_base_/schedule.py",
]
_iters = 800

model = dict(type="Distiller", student={{_base_._teacher}})
optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_cfg = dict(max_iters=_iters, val_interval=200)
param_scheduler = dict(total_steps=_iters, eta_max=2e-3)
