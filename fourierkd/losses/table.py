"""All losses: a new one is a file of its own, its test, and a line here."""

from fourierkd.losses.amplitude_phase import AmplitudeL2, PhaseL2
from fourierkd.losses.attention import AttentionTransfer
from fourierkd.losses.base import DistillationLoss
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
from fourierkd.losses.spatial import FeatureL2
from fourierkd.losses.spectral_l2 import SpectralL2
from fourierkd.losses.wavelet import WaveletL2

LOSSES: tuple[type[DistillationLoss], ...] = (
    FeatureL2,
    AttentionTransfer,
    CWDLoss,
    MGDLoss,
    FGDLoss,
    SpectralL2,
    AmplitudeL2,
    PhaseL2,
    WaveletL2,
    FrequencyDecoupledLoss,
    FourierLoss,
    LogitsKL,
    CWDLogits,
    DISTLoss,
    IoUAwareLoss,
    BinaryKDLoss,
    LDLoss,
)
