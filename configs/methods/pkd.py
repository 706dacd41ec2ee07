"""PKD: feature L2 of maps whose channels have mean 0 and variance 1."""

source = "Cao, Zhang, Gao, Cheng, Cheng, Cheng, PKD, NeurIPS 2022, eq. 4"
_loss = dict(type="FeatureL2", loss_weight=4.0, normalize=True)
losses = dict(feature=dict(pkd=dict(loss=_loss)), pyramid=dict(pkd=dict(loss=_loss)))


def space(suggest):
    weight = {"pkd.loss_weight": suggest.float(0.5, 100.0, log=True)}
    connector = {"pkd.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**weight, **connector}, pyramid=weight)
