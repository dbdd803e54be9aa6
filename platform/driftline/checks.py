"""System checks: settings that would break a promise stop `check` with a hint."""
