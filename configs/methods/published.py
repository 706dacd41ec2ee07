"""FourierKD as published: its public code's form and settings."""

source = (
    "Shi, Zheng, Yi, Weng, Luo, Knowledge Distillation in Fourier Frequency Domain for Dense "
    "Prediction, IEEE Signal Processing Letters 2024, doi 10.1109/LSP.2024.3515795, and its code"
)
losses = dict(
    feature=dict(
        fourier=dict(
            loss=dict(type="FourierLoss", loss_weight=41.0, compat="paper_code"),
            connector="ConvModule",  # 1x1 convolution and ReLU
        )
    ),
    pyramid=dict(fourier=dict(loss=dict(type="FourierLoss", loss_weight=7.0, compat="paper_code"))),
    head=dict(iou=dict(loss=dict(type="IoUAwareLoss", loss_weight=1.5))),
)


def space(suggest):
    weight = {"fourier.loss_weight": suggest.float(0.5, 100.0, log=True)}
    return dict(
        feature={**weight, "fourier.connector": suggest.categorical(["auto", "ConvModule"])},
        pyramid=weight,
    )
