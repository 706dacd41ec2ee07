"""What the command line does (``fourierkd.cli``): one module a command."""
