# FourierKD with the published settings against a teacher whose map has a nuisance above 0.4 of its
# Nyquist frequency, 1.9 times as strong as the map itself (standard deviations): what helps a
# student lies below, by construction (docs/method.md).
_base_ = "pspnet_student.py"

method = "published"
model = dict(
    teacher=dict(
        model={{_base_._teacher}},
        checkpoint=None,  # a study fills it in
        nuisance=dict(mask=dict(type="HighPass", cutoff=0.4), scale=1.9),
    ),
)
