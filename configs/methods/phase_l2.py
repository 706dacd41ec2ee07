"""L2 of the phasors of the spectra alone, weighted by the teacher's amplitudes: where, not what."""

source = "ours: spectral_l2 for a student with the teacher's amplitudes, docs/method.md"
_loss = dict(
    type="PhaseL2",
    loss_weight=10.0,
    weighted=True,
    normalize=False,
    mask=dict(type="AllPass"),
)
losses = dict(feature=dict(phase_l2=dict(loss=_loss)), pyramid=dict(phase_l2=dict(loss=_loss)))


def space(suggest):
    nodes = {
        "phase_l2.loss_weight": suggest.float(0.5, 100.0, log=True),
        "phase_l2.weighted": suggest.categorical([True, False]),
        "phase_l2.normalize": suggest.categorical([True, False]),
        "phase_l2.mask": suggest.mask(all_pass=True),
    }
    connector = {"phase_l2.connector": suggest.categorical(["auto", "ConvModule"])}
    return dict(feature={**nodes, **connector}, pyramid=nodes)
