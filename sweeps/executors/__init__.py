"""Where runs are trained, each way a file of its own behind the protocol of ``base.py``."""
