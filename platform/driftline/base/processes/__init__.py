"""What a process of the installation does about itself: fork others, end with its parent, say its name and priority.

Start with `forked_process.py`.
"""
