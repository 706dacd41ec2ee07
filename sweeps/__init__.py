"""Studies: search space, study config, coordinator, executor; without torch and MMEngine."""
