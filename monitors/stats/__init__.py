"""Pure kernels: arrays and summaries in, numbers out. No Django, no clock, no I/O."""
