"""CWD: every channel as a distribution over space."""

source = (
    "Shu, Liu, Gao, Yan, Shen, Channel-wise Knowledge Distillation for Dense Prediction, ICCV "
    "2021: temperature 4 and weight 50 of feature maps; at pyramids as MMRazor has it"
)
losses = dict(
    feature=dict(cwd=dict(loss=dict(type="CWDLoss", loss_weight=50.0, temperature=4.0))),
    pyramid=dict(cwd=dict(loss=dict(type="CWDLoss", loss_weight=10.0, temperature=1.0))),
)


def space(suggest):
    nodes = {
        "cwd.loss_weight": suggest.float(0.5, 500.0, log=True),
        "cwd.temperature": suggest.float(0.25, 8.0, log=True),
    }
    connector = {"cwd.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
