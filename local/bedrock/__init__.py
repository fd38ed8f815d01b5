"""A stand-in for Amazon Bedrock's batch inference, which the emulator does not have."""
