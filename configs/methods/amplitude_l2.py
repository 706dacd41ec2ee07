"""L2 of the amplitudes of the spectra alone: which patterns there are, not where."""

source = "ours: spectral_l2 for a student with the teacher's phases, docs/method.md"
_loss = dict(type="AmplitudeL2", loss_weight=10.0, normalize=False, mask=dict(type="AllPass"))
losses = dict(
    feature=dict(amplitude_l2=dict(loss=_loss)), pyramid=dict(amplitude_l2=dict(loss=_loss))
)


def space(suggest):
    nodes = {
        "amplitude_l2.loss_weight": suggest.float(0.5, 100.0, log=True),
        "amplitude_l2.normalize": suggest.categorical([True, False]),
        "amplitude_l2.mask": suggest.mask(all_pass=True),
    }
    connector = {"amplitude_l2.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
