"""Distillation losses: in flow student and teacher maps, out flows one scalar. No MMEngine here."""
