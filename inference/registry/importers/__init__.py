"""What other servers' folders describe, read into one shape and registered: `manage.py import_models`.

Each server's format is one pure file that gives `SourceModel`s; `plan` looks at their ONNX in the sandbox, `register`
writes what passed. Nothing of a folder is trusted: sizes are capped, and a link that leaves it is refused.
"""
