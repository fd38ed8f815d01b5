"""What every Yorutsuke function shares: the schema, the hashing of ids, the logger and the error tree."""
