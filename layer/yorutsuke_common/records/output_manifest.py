"""`manifest.json.out`: Bedrock's count of a job's items, compared with the processed records."""

from pydantic import ValidationError

from yorutsuke_common.errors import InvalidOutputManifestError
from yorutsuke_common.schema import BatchJob, RecordCounts
from yorutsuke_common.validation import describe_errors

MAX_OUTPUT_MANIFEST_BYTES = 64 * 1024
"""Maximum size of an output manifest, in bytes. Hundreds of times the size of its six counts."""


def parse_counts(content: bytes, key: str) -> RecordCounts:
    """Return the counts in an output manifest.

    Raises:
        InvalidOutputManifestError: The content is too large or is not an output manifest.
    """
    if len(content) > MAX_OUTPUT_MANIFEST_BYTES:
        raise InvalidOutputManifestError(
            f"{key!r} is larger than {MAX_OUTPUT_MANIFEST_BYTES} bytes. Only Bedrock may write this object. Delete the "
            "object."
        )
    try:
        return RecordCounts.model_validate_json(content)
    except ValidationError as exc:
        raise InvalidOutputManifestError(
            f"{key!r} is not an output manifest: {describe_errors(exc)}. Correct the object, then redrive the message."
        ) from exc


def processed_lines(job: BatchJob) -> int:
    """Return the number of records in a job's processed output files, without files that are to be processed again."""
    return sum(stats.totalCount for stats in job.outputStats.values())


def is_premature(counts: RecordCounts, job: BatchJob) -> bool:
    """Return whether an output manifest cannot be compared yet: it counts 0 records, and no output was processed."""
    return not counts.processedRecordCount and not job.processedOutputs
