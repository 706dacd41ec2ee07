# The schedule of the students of Spectral Shapes: at the rate of schedule.py some seeds begin to
# learn when it ends (docs/results.md).
_base_ = "schedule.py"
_iters = 720
_lr = 1.6e-2

train_cfg = dict(max_iters=_iters, val_interval=144)
optim_wrapper = dict(optimizer=dict(lr=_lr))
param_scheduler = dict(total_steps=_iters, eta_max=_lr)
