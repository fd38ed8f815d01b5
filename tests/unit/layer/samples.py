"""A job, a receipt, and records of the receipt in both layouts."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from yorutsuke_common.schema import BatchJob

JOB = BatchJob(
    intentId="intent-1",
    jobId="abcdefgh1234",
    userId="user-1",
    status="SUBMITTED",
    submitTime="2026-11-22T15:00:00.000Z",
    traceId="trace-1",
)
EXTRACTED_AT = datetime(2026, 11, 22, 18, 42, 7, 500_000, tzinfo=UTC)
RECEIPT: Mapping[str, object] = {
    "amount": 1280,
    "type": "expense",
    "date": "2026-11-20",
    "merchant": "喫茶ほし",
    "category": "other",
    "description": "Coffee with a client",
}
MODEL_INPUT: Mapping[str, object] = {"messages": [{"content": [{"image": {"source": {"bytes": "aGVsbG8="}}}]}]}


def receipt_text(**changes: object) -> str:
    """Return the receipt's JSON, as a model writes it."""
    return json.dumps({**RECEIPT, **changes})


def with_amount(literal: str) -> str:
    """Return the receipt's JSON with this literal text as its amount."""
    return receipt_text(amount="AMOUNT").replace('"AMOUNT"', literal)


def simple_line(text: str, image_id: str = "image-1") -> bytes:
    """Return a record in the simple layout."""
    return json.dumps({"customData": image_id, "output": {"text": text}}).encode()


def nova_output(*texts: str, **more: object) -> dict[str, Any]:
    """Return the modelOutput of Nova or Converse with these text blocks."""
    message = {"role": "assistant", "content": [{"text": text} for text in texts]}
    return {"output": {"message": message}, "stopReason": "end_turn", **more}


def bedrock_line(image_id: str = "image-1", **outcome: object) -> bytes:
    """Return a record in Bedrock's layout. `outcome` is its modelOutput or its error."""
    return json.dumps({"recordId": image_id, "modelInput": MODEL_INPUT, **outcome}).encode()
