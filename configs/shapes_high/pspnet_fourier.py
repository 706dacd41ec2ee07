# FourierKD with the published settings against a teacher whose map has a nuisance below a quarter
# of its Nyquist frequency, at seven times the map's own deviation: what helps a student lies above,
# by construction (docs/method.md).
_base_ = "pspnet_student.py"

method = "published"
model = dict(
    teacher=dict(
        model={{_base_._teacher}},
        checkpoint=None,  # a study fills it in
        nuisance=dict(mask=dict(type="LowPass", cutoff=0.25), scale=7.0),
    ),
)
