"""From one line of an output file to a transaction or a dead letter. Pure: no AWS, no clock, no environment."""
