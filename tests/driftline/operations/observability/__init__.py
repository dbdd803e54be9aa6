"""What an installation shows other programs about itself."""
