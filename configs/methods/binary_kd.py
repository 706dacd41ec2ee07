"""Binary KD: every class score of a dense head against the teacher's, where the two differ."""

source = (
    "Yang, Zhou, Li, Qiao, Li, Yang, Wang, Li, Bridging Cross-task Protocol Inconsistency, ICCV "
    "2023, classification; beta 1 and weight 1 as CrossKD (Wang et al., CVPR 2024) has them"
)
_loss = dict(type="BinaryKDLoss", loss_weight=1.0, beta=1.0)
losses = dict(head=dict(binary_kd=dict(loss=_loss)))


def space(suggest):
    return dict(
        head={
            "binary_kd.loss_weight": suggest.float(0.05, 20.0, log=True),
            "binary_kd.beta": suggest.float(1.0, 3.0),
        }
    )
