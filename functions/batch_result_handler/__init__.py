"""The function that turns a finished batch job's output into transactions."""
