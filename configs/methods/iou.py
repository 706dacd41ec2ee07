"""IoU-aware distillation of a detection head; as a sum with others, such as pkd+iou."""

source = (
    "Shi, Zheng, Yi, Weng, Luo, IEEE Signal Processing Letters 2024, doi "
    "10.1109/LSP.2024.3515795, the IoU-aware branch"
)
losses = dict(head=dict(iou=dict(loss=dict(type="IoUAwareLoss", loss_weight=1.5))))


def space(suggest):
    return dict(head={"iou.loss_weight": suggest.float(0.1, 10.0, log=True)})
