"""Plain feature L2, after a 1x1 convolution where widths differ."""

source = "Romero et al., FitNets, ICLR 2015, eq. 3, as a mean and at every step of the training"
_loss = dict(type="FeatureL2", loss_weight=10.0)
losses = dict(feature=dict(feature_l2=dict(loss=_loss)), pyramid=dict(feature_l2=dict(loss=_loss)))


def space(suggest):
    weight = {"feature_l2.loss_weight": suggest.float(0.5, 100.0, log=True)}
    connector = {"feature_l2.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**weight, **connector}, pyramid=weight)
