# MMSegmentation's 40k schedule for 4 GPUs with 2 images each, at the learning rate of the published
# FourierKD configs. The gradient bound is our choice: they clip and give none.
_iters = 40000

train_cfg = dict(type="IterBasedTrainLoop", max_iters=_iters, val_interval=4000)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0005),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="PolyLR", eta_min=1e-4, power=0.9, begin=0, end=_iters, by_epoch=False)
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
