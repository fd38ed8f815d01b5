"""Compares the calls, time and memory of the functions with other ways, on a modelled AWS."""
