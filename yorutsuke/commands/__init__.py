"""One command a file: what it asks of the stage, and how it shows what came of it."""
