"""MGD: the teacher's map, generated from a student's map of which most pixels are left out."""

source = (
    "Yang, Li, Shao, Shi, Yuan, Yuan, Masked Generative Distillation, ECCV 2022: weight 2e-5, "
    "lambda 0.75 for segmentation and 0.65 for one-stage detectors"
)
_loss = dict(type="MGDLoss", loss_weight=2e-5)
losses = dict(
    feature=dict(mgd=dict(loss=dict(**_loss, masked=0.75))),
    pyramid=dict(mgd=dict(loss=dict(**_loss, masked=0.65))),
)


def space(suggest):
    nodes = {
        "mgd.loss_weight": suggest.float(1e-6, 1e-2, log=True),  # of a sum over a map's values
        "mgd.masked": suggest.float(0.0, 0.9),
    }
    connector = {"mgd.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
