"""Spectra placeholder."""

from mmengine.hooks import Hook

from fourierkd.distill.registry import HOOKS


@HOOKS.register_module()
class SpectraHook(Hook):
    pass
