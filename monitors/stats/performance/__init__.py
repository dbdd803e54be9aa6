"""How well a model does and how fast it answers: metrics of what happened, with their intervals."""
