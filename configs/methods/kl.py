"""Temperature KL: class scores of every pixel, softened."""

source = (
    "Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531, "
    "section 2; per pixel and with weight 10 as in Liu, Chen, Liu, Qin, Luo, Wang, Structured "
    "Knowledge Distillation for Semantic Segmentation, CVPR 2019"
)
losses = dict(logits=dict(kl=dict(loss=dict(type="LogitsKL", loss_weight=10.0, temperature=1.0))))


def space(suggest):
    return dict(
        logits={
            "kl.loss_weight": suggest.float(0.1, 100.0, log=True),
            "kl.temperature": suggest.float(1.0, 8.0, log=True),
        }
    )
