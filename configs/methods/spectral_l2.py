"""Feature L2 within a frequency band, normalised there (here the lower half)."""

source = "ours; distance of normalised maps: Cao et al., PKD, NeurIPS 2022, eq. 4"
_loss = dict(
    type="SpectralL2", loss_weight=10.0, normalize=True, mask=dict(type="LowPass", cutoff=0.5)
)
losses = dict(
    feature=dict(spectral_l2=dict(loss=_loss)),
    pyramid=dict(spectral_l2=dict(loss=_loss)),
)


def space(suggest):
    nodes = {
        "spectral_l2.loss_weight": suggest.float(0.5, 100.0, log=True),
        "spectral_l2.normalize": suggest.categorical([True, False]),
        "spectral_l2.mask": suggest.mask(),
    }
    connector = {"spectral_l2.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
