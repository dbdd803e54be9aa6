"""The demonstration: New York's flights of 2013, replayed through the public API."""
