"""Whether rows of many columns moved together, which no column shows by itself."""
