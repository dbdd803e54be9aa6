"""What people and programs note on a model's axis of event time: a moment or an interval, a text and a link.

In: notes from the page or the API. Out: marks on all charts of the model.

Start with `services`.
"""
