"""LD: where the sides of a box lie, as softened distributions; of GFL heads."""

source = (
    "Zheng, Ye, Wang, Ren, Zuo, Hou, Cheng, Localization Distillation for Dense Object Detection, "
    "CVPR 2022, main region, with weight 0.25 and temperature 10 of its code"
)
losses = dict(head=dict(ld=dict(loss=dict(type="LDLoss", loss_weight=0.25, temperature=10.0))))


def space(suggest):
    return dict(
        head={
            "ld.loss_weight": suggest.float(0.01, 5.0, log=True),
            "ld.temperature": suggest.float(1.0, 20.0, log=True),
        }
    )
