"""Strict L2 of low frequencies and a relaxed, logarithmic one of high ones, after FreqKD."""

source = (
    "FreqKD, arXiv 2606.11572, by its abstract: log-MSE of weight 0.1 on the high band; cutoff, "
    "log(1 + MSE) as its form, loss weight and normalisation are ours"
)
_loss = dict(
    type="FrequencyDecoupledLoss", loss_weight=10.0, cutoff=0.5, high_weight=0.1, normalize=False
)
losses = dict(feature=dict(freqkd=dict(loss=_loss)), pyramid=dict(freqkd=dict(loss=_loss)))


def space(suggest):
    nodes = {
        "freqkd.loss_weight": suggest.float(0.5, 100.0, log=True),
        "freqkd.cutoff": suggest.float(0.1, 0.7),
        "freqkd.high_weight": suggest.float(0.01, 1.0, log=True),
        "freqkd.normalize": suggest.categorical([True, False]),
    }
    connector = {"freqkd.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
