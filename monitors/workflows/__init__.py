"""Runs that repair a model: retrain, validate, shadow, gate, promote."""
