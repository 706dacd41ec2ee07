"""The hooks of a run, one per file; this import registers them in scope ``fourierkd``."""

from fourierkd.engine.hooks.checkpoint import RunCheckpointHook
from fourierkd.engine.hooks.classes import ClassesHook
from fourierkd.engine.hooks.control import ControlHook
from fourierkd.engine.hooks.first_step import FirstStepHook
from fourierkd.engine.hooks.ledger import LedgerHook
from fourierkd.engine.hooks.random_state import RandomStateHook
from fourierkd.engine.hooks.scalars import ScalarsHook
from fourierkd.engine.hooks.spectra import SpectraHook
from fourierkd.engine.hooks.teacher_maps import TeacherMapsHook

__all__ = [
    "ClassesHook",
    "ControlHook",
    "FirstStepHook",
    "LedgerHook",
    "RandomStateHook",
    "RunCheckpointHook",
    "ScalarsHook",
    "SpectraHook",
    "TeacherMapsHook",
]
