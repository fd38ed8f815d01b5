"""The same examples on every run: a gate that fails must fail again."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, database=None, derandomize=True)
settings.load_profile("repeatable")
