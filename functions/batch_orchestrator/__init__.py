"""The function that submits a batch inference job for a user's pending images."""
