"""Distillation losses: in flow student and teacher maps, out flows one scalar. No MMEngine here.

Each stands as a function in the module of its family; that of ``SpectralL2`` has the module's name,
so functions are imported from there.
"""

from fourierkd.losses.amplitude_phase import AmplitudeL2, PhaseL2
from fourierkd.losses.attention import AttentionTransfer
from fourierkd.losses.base import DistillationLoss, MapLoss, Objects
from fourierkd.losses.binary_kd import BinaryKDLoss
from fourierkd.losses.cwd import CWDLogits, CWDLoss
from fourierkd.losses.dist import DISTLoss
from fourierkd.losses.fgd import FGDLoss
from fourierkd.losses.fourier import FourierLoss
from fourierkd.losses.freqkd import FrequencyDecoupledLoss
from fourierkd.losses.iou_aware import IoUAwareLoss
from fourierkd.losses.kl import LogitsKL
from fourierkd.losses.ld import LDLoss
from fourierkd.losses.mgd import MGDLoss
from fourierkd.losses.samples import HeadLoss
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.spectral_l2 import SpectralL2
from fourierkd.losses.wavelet import WaveletL2

__all__ = [
    "AmplitudeL2",
    "AttentionTransfer",
    "BinaryKDLoss",
    "CWDLogits",
    "CWDLoss",
    "DISTLoss",
    "DistillationLoss",
    "FGDLoss",
    "FeatureL2",
    "FourierLoss",
    "FrequencyDecoupledLoss",
    "HeadLoss",
    "IoUAwareLoss",
    "LDLoss",
    "LogitsKL",
    "MGDLoss",
    "MapLoss",
    "Objects",
    "PhaseL2",
    "SpectralL2",
    "WaveletL2",
]
