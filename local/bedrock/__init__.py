"""A stand-in for Amazon Bedrock's batch inference, since the emulator's own writes no output.

It is an endpoint for boto3's `bedrock` client: it takes jobs, reads their input from the emulator's S3 in their role,
makes up what a model might reply, and writes the output and the manifest where Bedrock would.
"""

from .jobs import Limits
from .replies import Kind, Mix, Model
from .server import Bedrock, running_bedrock

__all__ = ["Bedrock", "Kind", "Limits", "Mix", "Model", "running_bedrock"]
