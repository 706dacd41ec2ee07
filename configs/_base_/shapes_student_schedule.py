# The schedule of the students of Spectral Shapes. At the rate of schedule.py some seeds begin to
# learn when it ends, and with its weight decay a student of so few images moves by 4 mIoU with its
# seed. AdamW's usual second beta of 0.999 averages over more steps than there are, and plain L2
# begins late with some seeds; 0.95 averages over 20 (docs/results.md).
_base_ = "schedule.py"
_iters = 800
_lr = 1.6e-2

train_cfg = dict(max_iters=_iters, val_interval=160)
optim_wrapper = dict(optimizer=dict(lr=_lr, betas=(0.9, 0.95), weight_decay=0.5))
param_scheduler = dict(total_steps=_iters, eta_max=_lr)
