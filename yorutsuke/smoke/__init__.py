"""The smoke run: submits drawn receipts to a deployed stage, checks the result, and removes everything again."""
