"""The function that turns the output of a batch job into transactions."""
