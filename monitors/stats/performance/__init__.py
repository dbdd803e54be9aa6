"""How well a model does where labels are known, from outcome summaries alone, with intervals."""
