"""Pages of docs/ that are written from the source, since by hand they would be right once."""
