"""What the roof tells other programs of itself."""
