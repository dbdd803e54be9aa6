"""The page of a pipeline: where the training of a model runs, if not here.

Input: what people choose. Output: the pipeline of a workflow, with its secret.

Start with `pipeline.py`.
"""
