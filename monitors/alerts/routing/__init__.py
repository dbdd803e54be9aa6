"""Decides who hears of an incident, when, and how often: a tree of routes, as Alertmanager has it.

Input: a document that people write as YAML, JSON or in a form (`document`), parsed into a tree with a sentence for each
fault (`parsing`), and the labels of an incident. Output: the routes that take it (`tree`), when their channels may be
written to (`time_intervals`, `timing`), and which other incident inhibits it (`inhibition`).

Nothing here knows the database or reads the clock.

Start with `tree.RoutingTree.resolve`.
"""
