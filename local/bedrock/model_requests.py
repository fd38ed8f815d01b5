"""The checks of a model request, the `modelInput` of a record, which depend on the job's type and model.

Bedrock runs a job with wrong requests, and writes an error for each of their records.

Sources: Amazon Bedrock user guide, "Format and upload your batch inference data" (the form of a request follows from
the job's type) and "Process multiple prompts with batch inference" (Converse jobs have no tools); Amazon Bedrock API
reference, Converse, Message and ImageSource.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from .request_rules import input_shape, problem

INVOKE_MODEL = "InvokeModel"
CONVERSE = "Converse"
MAX_CONVERSE_IMAGE_BYTES = 3_750_000
"""Maximum size of an image in a Converse request, in bytes. Source: Amazon Bedrock API reference, Message."""


def request_problem(model_input: dict[str, Any], model_id: str, invocation_type: str) -> str | None:
    """Return why the model refuses a request, or None if it accepts the request."""
    if invocation_type == CONVERSE:
        return _converse_problem(model_input, model_id)
    if "amazon.nova-" not in model_id:
        return f"The stand-in does not have the InvokeModel form of {model_id}, only that of Amazon Nova."
    if not isinstance(model_input.get("messages"), list):
        return "Malformed input request: #: required key [messages] not found."
    return None


def image_sources(model_input: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources of the images in a valid request."""
    blocks = [block for message in model_input["messages"] for block in message["content"]]
    return [block["image"]["source"] for block in blocks if "image" in block]


def _converse_problem(model_input: dict[str, Any], model_id: str) -> str | None:
    if "modelId" in model_input:
        return "Malformed input request: #: extraneous key [modelId] is not permitted."
    if "toolConfig" in model_input:
        return "Malformed input request: batch inference does not support toolConfig."
    # botocore requires only the model of a request, because a managed prompt may hold the rest.
    if not model_input.get("messages"):
        return "Malformed input request: #: required key [messages] not found."
    found = problem(input_shape("bedrock-runtime", "Converse"), {"modelId": model_id, **model_input})
    return f"Malformed input request: {found}" if found else next(_image_problems(model_input), None)


def _image_problems(model_input: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of the images in a valid request."""
    for source in image_sources(model_input):
        if "s3Location" in source:
            yield "The stand-in reads images from S3 only in InvokeModel jobs of Amazon Nova."
            continue
        encoded = source.get("bytes", "")
        try:
            size = len(base64.b64decode(encoded, validate=True))
        except binascii.Error:
            yield "Malformed input request: the bytes of an image are not base64."
        else:
            if not 0 < size <= MAX_CONVERSE_IMAGE_BYTES:
                yield f"The image has {size} bytes, but a Converse request takes 1 to {MAX_CONVERSE_IMAGE_BYTES}."
