"""Looking at runs: Weights & Biases, its workspace as code, and pictures of spectra."""
