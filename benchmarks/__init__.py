"""What the pipeline takes: calls, time and memory, beside other ways of doing it, on a modelled AWS."""
