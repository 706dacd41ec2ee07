# The pair of the studies on Spectral Shapes: that of shapes_pspnets.py without its fourth stage,
# which takes over half of a step's time and lets some students begin to learn late.
_base_ = "shapes_pspnets.py"


def _three_stages(width):
    return dict(
        backbone=dict(
            num_stages=3,
            out_indices=(0, 1, 2),
            strides=(1, 1, 1),
            dilations=(1, 1, 2),
        ),
        decode_head=dict(in_channels=4 * width, in_index=2),
    )


_student = _three_stages(width=8)
_teacher = _three_stages(width=16)
taps = dict(feature="backbone.layer3")
