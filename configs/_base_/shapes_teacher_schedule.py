# The schedule of the teachers of Spectral Shapes.
_base_ = "schedule.py"
_iters = 600

train_cfg = dict(max_iters=_iters, val_interval=200)
param_scheduler = dict(total_steps=_iters)
