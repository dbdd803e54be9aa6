"""How well a model does before labels come."""
