"""The commands, one per file: each calls the stage and shows the result."""
