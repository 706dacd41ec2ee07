# AdamW with one cycle of the learning rate. A longer schedule: set max_iters and total_steps
# together.
_iters = 300

train_cfg = dict(type="IterBasedTrainLoop", max_iters=_iters, val_interval=60)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=4e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=35),
)
param_scheduler = dict(
    type="OneCycleLR", eta_max=4e-3, total_steps=_iters, pct_start=0.1, by_epoch=False
)
