"""Measures the functions on a modelled AWS, beside other ways: calls, time and memory."""
