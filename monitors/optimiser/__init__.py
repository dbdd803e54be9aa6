"""The optimiser: variants of a version, each built and measured, and refused where it costs more than it may."""
