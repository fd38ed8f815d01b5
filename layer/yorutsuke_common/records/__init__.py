"""Parses the lines of an output file into transactions and dead letters. Pure: without AWS, clock or environment."""
