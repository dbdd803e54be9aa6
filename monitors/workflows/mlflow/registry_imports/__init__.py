"""The import of a whole MLflow registry: its registered models become models, with their versions.

Input: an address of a tracking server (`services.py`), and what a person chooses of what `listing.py` found there.
Output: for each registered model a model of the project, and its versions through the sandboxed intake; what became of
each version is a row (`models.py`), so that a worker that dies goes on where it was.

Start with `importing.py`.
"""
