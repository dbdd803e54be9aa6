"""Publishes the serving plan when something that it holds changes."""
