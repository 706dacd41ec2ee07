"""Fourier-domain knowledge distillation for dense prediction. Holds only the version."""

__version__ = "0.1.0"
