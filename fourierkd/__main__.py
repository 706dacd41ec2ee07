"""``python -m fourierkd``."""

from fourierkd.cli import main

if __name__ == "__main__":
    main()
