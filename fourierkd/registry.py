"""Where MMEngine looks for the registries of a scope: it imports ``<scope>.registry`` by name."""

from fourierkd.distill.registry import *  # noqa: F403
