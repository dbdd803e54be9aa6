"""What `crashing_app` crashes at: tests that start it name this, and leave their own process as it is."""

FATAL_INPUT = -13.0
FATAL_FILE = b"fatal while loading"
