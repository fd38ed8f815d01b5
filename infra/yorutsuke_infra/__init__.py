"""The components of a Yorutsuke stage."""
