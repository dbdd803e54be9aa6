"""First runs of an uploaded model in the child: on made-up rows, and on rows of the model's reference.

Input: the parsed graph. Output: what its inputs and outputs are, and what is wrong with its answers.

Start with `session.py`.
"""
