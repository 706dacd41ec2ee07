# MMDetection's 1x schedule; otherwise as 2x.
_base_ = "schedule_coco_2x.py"
_epochs = 12

train_cfg = dict(max_epochs=_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=_epochs, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
