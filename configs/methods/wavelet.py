"""L2 of Haar wavelet bands, in the manner of FreeKD (here its three levels of details alone)."""

# FreeKD compares the detail bands by absolute differences, at pixels that masks of prompts select.
source = (
    "after Zhang, Huang, Liu, Jiang, Cheng, Zhang, FreeKD, CVPR 2024, without its prompts, masks "
    "and relations; squares, weights and normalisation are ours"
)
_loss = dict(type="WaveletL2", loss_weight=10.0, levels=3, low=0.0, details=1.0, normalize=False)
losses = dict(feature=dict(wavelet=dict(loss=_loss)), pyramid=dict(wavelet=dict(loss=_loss)))


def space(suggest):
    low = suggest.float(0.1, 1000.0, log=True)  # of 1 in 64 coefficients at three levels
    nodes = {
        "wavelet.loss_weight": suggest.float(0.5, 100.0, log=True),
        "wavelet.levels": suggest.int(1, 3),
        "wavelet.low": suggest.choice(details_alone=0.0, weight=low),
        "wavelet.normalize": suggest.categorical([True, False]),
    }
    connector = {"wavelet.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
