"""What a run config says: it is read, completed, and its keys, values and schedules are checked."""
