"""FGD: a detector's maps by objects, background and attention, and with their global contexts."""

# The weights are those of anchor-based one-stage detectors. Its code has loss_weight 1.6 for
# RepPoints and, for two-stage detectors, 0.05 with attention 1e-3 and relation 1e-5.
source = (
    "Yang, Li, Jiang, Gong, Yuan, Zhao, Yuan, Focal and Global Knowledge Distillation for "
    "Detectors, CVPR 2022, with the weights of its code for RetinaNet"
)
_loss = dict(
    type="FGDLoss",
    loss_weight=1.0,
    temperature=0.5,
    foreground=1e-3,
    background=5e-4,
    attention=5e-4,
    relation=5e-6,
)
losses = dict(pyramid=dict(fgd=dict(loss=_loss)))


def space(suggest):
    return dict(
        pyramid={
            "fgd.loss_weight": suggest.float(0.05, 500.0, log=True),  # of sums over a map's values
            "fgd.temperature": suggest.float(0.1, 2.0, log=True),
            "fgd.relation": suggest.float(1e-7, 1e-3, log=True),
        }
    )
