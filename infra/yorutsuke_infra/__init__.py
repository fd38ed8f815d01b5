"""The components of a Yorutsuke stage, one noun a module."""
