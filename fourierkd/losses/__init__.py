"""Distillation losses: in flow student and teacher maps, out flows one scalar. No MMEngine here."""

from fourierkd.losses.base import DistillationLoss, MapLoss
from fourierkd.losses.fourier import FourierLoss, fourier_loss
from fourierkd.losses.iou_aware import IoUAwareLoss
from fourierkd.losses.spatial import FeatureL2, feature_l2
from fourierkd.losses.spectral_l2 import SpectralL2, spectral_l2

__all__ = [
    "DistillationLoss",
    "FeatureL2",
    "FourierLoss",
    "IoUAwareLoss",
    "MapLoss",
    "SpectralL2",
    "feature_l2",
    "fourier_loss",
    "spectral_l2",
]
