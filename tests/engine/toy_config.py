metric = "acc"
default_scope = "fourierkd"
custom_imports = dict(imports=["toy"], allow_failed_imports=False)
model = dict(type="Distiller", student=dict(type="ToyModel"), teacher=None, losses={})
_loader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(type="ToyDataset"),
    sampler=dict(type="InfiniteSampler", shuffle=True),
)
train_dataloader = _loader
val_dataloader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(type="ToyDataset", augment=False),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="ToyAccuracy")
test_evaluator = val_evaluator
train_cfg = dict(type="IterBasedTrainLoop", max_iters=20, val_interval=5)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-2))
param_scheduler = [dict(type="PolyLR", eta_min=0, power=0.9, begin=0, end=20, by_epoch=False)]
