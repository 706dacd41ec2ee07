"""Attention transfer: where a map is strong, summed over channels and of length 1 over space."""

source = (
    "Zagoruyko, Komodakis, Paying More Attention to Attention, ICLR 2017, eq. 2 at one tap, "
    "with beta = 10^3 / (N H W) and the square of its code"
)
_loss = dict(type="AttentionTransfer", loss_weight=500.0)
losses = dict(
    feature=dict(attention_transfer=dict(loss=_loss)),
    pyramid=dict(attention_transfer=dict(loss=_loss)),
)


def space(suggest):
    weight = {"attention_transfer.loss_weight": suggest.float(10.0, 10000.0, log=True)}
    return dict(feature=weight, pyramid=weight)
