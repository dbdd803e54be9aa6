"""Which of the features that moved matter to the model.

Input: the losses of labelled rows, the importance of features and how far each feature moved.
Output: an order of the features, with the share of the problem that each explains.

Start with `importance.py`.
"""
