"""A letter a day or a week for each person who wants one: what happened in all their projects.

Input: a person's choice of when, and what incidents, events, rules and deliveries say of the time since the last one.
Output: an e-mail, where there is something to say, with a link and headers by which one click ends them.

Start with `sending.py`, then `content.py`.
"""
