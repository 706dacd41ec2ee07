"""Spectra of feature maps: pure tensor maths on the half spectrum; no MMEngine, no state."""
