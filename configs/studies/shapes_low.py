"""The default study: the teacher has a nuisance above 0.4 of Nyquist, so a low pass is right.

Eight final seeds: with five, an interval over all pairs of six methods is 1.8 times as wide, and
what separates the tuned method from PKD was decided in one study and not in the next
(docs/results.md).
"""

from sweeps.presets import method_search

study = dict(
    method_search("mIoU"),
    name="shapes_low",
    final_seeds=8,
    config="../shapes_low/pspnet_fourier.py",
    teacher=dict(config="../shapes_low/pspnet_teacher.py", option="model.teacher.checkpoint"),
)
