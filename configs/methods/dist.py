"""DIST: correlations of class probabilities over the classes of a pixel and over all pixels."""

source = (
    "Huang, You, Wang, Qian, Xu, Knowledge Distillation from A Stronger Teacher, NeurIPS 2022, "
    "with the weights and the temperature of its segmentation code, all 1"
)
_loss = dict(type="DISTLoss", loss_weight=1.0, temperature=1.0, inter=1.0, intra=1.0)
losses = dict(logits=dict(dist=dict(loss=_loss)))


def space(suggest):
    return dict(
        logits={
            "dist.loss_weight": suggest.float(0.1, 30.0, log=True),
            "dist.temperature": suggest.float(0.5, 8.0, log=True),
            "dist.intra": suggest.float(0.1, 10.0, log=True),
        }
    )
