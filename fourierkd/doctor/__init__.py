"""``fourierkd doctor``: in flows a run config, out flow named checks that distillation works.

Nothing is trained and nothing is written but what ``--json`` asks for.
"""
