# MMDetection's 2x schedule for 8 GPUs with 2 images each. The gradient bound is our choice (the
# published configs clip and give none); RetinaNet and RepPoints lower the learning rate to 0.01.
_epochs = 24

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=_epochs, val_interval=1)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=_epochs, by_epoch=True, milestones=[16, 22], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
