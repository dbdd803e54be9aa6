"""The Django project: what may import everything, and the floor that imports nobody."""
