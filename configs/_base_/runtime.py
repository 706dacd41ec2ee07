# What every run shares. A run has these hooks anyway (fourierkd/engine/prepare.py).
default_scope = "fourierkd"
default_hooks = dict(
    scalars=dict(type="ScalarsHook", interval=10),  # iterations a training row
    spectra=dict(type="SpectraHook", every=4),  # validations a picture; one more at the end
    checkpoint=dict(type="RunCheckpointHook", interval=None),  # beside validations and time
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
)
log_level = "INFO"
