"""The way from each schema to the next, for Alembic: one file in `versions` for each.

A migration that was released is not edited. It uses no model of ours, because models move on. It only adds, unless its
docstring says why not: hosts of the version before go on writing while it runs, and after.
"""
