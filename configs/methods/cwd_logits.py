"""CWD on class scores: every class as a distribution over space."""

source = (
    "Shu, Liu, Gao, Yan, Shen, Channel-wise Knowledge Distillation for Dense Prediction, ICCV "
    "2021: temperature 4 and weight 3 of logits"
)
_loss = dict(type="CWDLogits", loss_weight=3.0, temperature=4.0)
losses = dict(logits=dict(cwd_logits=dict(loss=_loss)))


def space(suggest):
    return dict(
        logits={
            "cwd_logits.loss_weight": suggest.float(0.1, 100.0, log=True),
            "cwd_logits.temperature": suggest.float(0.5, 8.0, log=True),
        }
    )
