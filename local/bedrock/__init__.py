"""A stand-in for Amazon Bedrock's batch inference, which the emulator does not have.

It creates jobs through Bedrock's API, reads their manifests with the rights of their role, makes up replies, and writes
the output files.
"""

from .jobs import Bedrock
from .replies import Kind, kind_of
from .server import serving

__all__ = ["Bedrock", "Kind", "kind_of", "serving"]
