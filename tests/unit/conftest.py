"""Makes Hypothesis generate the same examples in every run, so that a failure can be repeated."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, database=None, derandomize=True)
settings.load_profile("repeatable")
