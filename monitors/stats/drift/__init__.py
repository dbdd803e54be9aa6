"""How far one column moved from its reference, and whether that is more than chance."""
