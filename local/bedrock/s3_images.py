"""Images that the model requests of a job name by their S3 URI. They must be in the input folder of the job.

Source: Amazon Bedrock user guide, "Format and upload your batch inference data". The message about other locations is
Bedrock's, as a public report quotes it (AAKevin8450/aquaticartists-video).
"""

import base64
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from .s3_uris import origin

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OUTSIDE = (
    "The S3 resource locations in your prompt do not match the folder prefix specified in CreateModelInvocationJob "
    "InputDataConfig parameter. Batch Inference requires both JSONL and S3 resources to be in the same S3 bucket and "
    "folder (paths are case-sensitive). If you intend to use S3 URIs in prompts, the InputDataConfig parameter must "
    "specify a folder containing all linked resources, not an individual .jsonl file."
)


class UnreadableImageError(Exception):
    """An image by S3 URI is not in the input folder, or the job's role cannot read it."""


def with_content(model_input: Any, s3: "S3Client", input_uri: str) -> Any:
    """Return a model request with the content of each image in place of its S3 URI.

    Args:
        model_input: The model request, or a part of it.
        s3: A client with the rights of the job's role.
        input_uri: The input of the job.

    Raises:
        UnreadableImageError: An image cannot be read.
    """
    match model_input:
        case {"s3Location": {"uri": str(uri)}}:
            return {"bytes": base64.b64encode(_content(uri, s3, input_uri)).decode()}
        case dict():
            parts = cast("dict[str, Any]", model_input)
            return {name: with_content(part, s3, input_uri) for name, part in parts.items()}
        case list():
            return [with_content(part, s3, input_uri) for part in cast("list[Any]", model_input)]
        case _:
            return model_input


def _content(uri: str, s3: "S3Client", input_uri: str) -> bytes:
    if not (input_uri.endswith("/") and uri.startswith(input_uri)):
        raise UnreadableImageError(OUTSIDE)
    try:
        return s3.get_object(**origin(uri))["Body"].read()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        raise UnreadableImageError(f"The S3 object {uri} cannot be read ({code}).") from error
