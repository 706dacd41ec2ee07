# The teacher: trained once by a study, on all 400 labelled images.
_base_ = [
    "../_base_/shapes_seg.py",
    "../_base_/shapes_study_pspnets.py",
    "../_base_/schedule.py",
]
_iters = 600

model = dict(type="Distiller", student={{_base_._teacher}})
train_dataloader = dict(batch_size=12)
train_cfg = dict(max_iters=_iters, val_interval=200)
param_scheduler = dict(total_steps=_iters)
