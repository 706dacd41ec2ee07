"""FourierKD without the defects of its published code, and each of its parts as a switch."""

source = (
    "Shi, Zheng, Yi, Weng, Luo, IEEE Signal Processing Letters 2024, doi "
    "10.1109/LSP.2024.3515795; what is mended: docs/method.md"
)
_parts = dict(
    noise=True,
    fusion=True,
    predictor=True,
    similarity=True,
    normalize=True,
    detach_similarity=False,
)
_loss = dict(type="FourierLoss", mask=dict(type="AllPass"), sphere_radius=1.0, **_parts)
losses = dict(
    # the connector is a 1x1 convolution and ReLU
    feature=dict(fourier=dict(loss=dict(**_loss, loss_weight=41.0), connector="ConvModule")),
    pyramid=dict(fourier=dict(loss=dict(**_loss, loss_weight=7.0))),
    head=dict(iou=dict(loss=dict(type="IoUAwareLoss", loss_weight=1.5))),
)


def space(suggest):
    nodes = {
        "fourier.loss_weight": suggest.float(0.5, 100.0, log=True),
        "fourier.mask": suggest.mask(all_pass=True),
        "fourier.sphere_radius": suggest.choice(
            none=None, radius=suggest.float(1.0, 30.0, log=True)
        ),
        **{f"fourier.{part}": suggest.categorical([True, False]) for part in _parts},
    }
    return dict(
        feature={**nodes, "fourier.connector": suggest.categorical(["auto", "ConvModule"])},
        pyramid=nodes,
        head={"iou": suggest.choice(off=None, on=dict(tap="head", **losses["head"]["iou"]))},
    )
