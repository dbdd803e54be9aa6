"""Versions that are pulled from an address: an ONNX file of a web server, or of a repository of Hugging Face.

Input: an address with its token, through the API or a page (`services.py`); each is a work row (`models.py`).
Output: a version that passed the sandboxed intake and, where that was asked for, a run that begins at the shadow
(`pulling.py`). The commit that a revision stood for is in the version's lineage.

Start with `pulling.py`.
"""
