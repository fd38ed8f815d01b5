"""Made-up receipts: their images, and output files with the replies to them. The same seed gives the same receipts."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from yorutsuke.smoke.receipts import RECEIPT_KEYWORD
from yorutsuke_common.schema import RecordCounts

SHOPS = {
    "コンビニ港店": ("purchase", ("コピー用紙", "ボールペン", "封筒")),
    "Kissa Hoshi": ("other", ("Coffee with a client", "Lunch meeting")),
    "日本郵便": ("shipping", ("レターパック", "ゆうパック 60サイズ")),
    "Packaging Depot": ("packaging", ("Bubble wrap", "Boxes, 20 pieces")),
    "Flea Market Stall 7": ("sale", ("Vintage lamp", "Two chairs")),
    "みずほ銀行": ("fee", ("振込手数料",)),
}
"""Category and goods by merchant."""
BAD_LINES = (48, 113)
"""Numbers of the lines of an output that cannot become transactions, counted from 1."""
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==")
"""An image of one grey pixel."""
PNG_END_BYTES = 12
"""Length of the chunk that ends a PNG, in bytes."""


@dataclass(frozen=True)
class Receipt:
    """One receipt: its image id, and the JSON object that a model reads from it."""

    image_id: str
    fields: dict[str, object]


def make_receipts(count: int, seed: int = 1, prefix: str = "") -> list[Receipt]:
    """Return receipts with distinct image ids that start with the prefix."""
    dice = random.Random(seed)  # noqa: S311 - sample data
    return [Receipt(f"{prefix}img-{number:05}", receipt_fields(dice)) for number in range(1, count + 1)]


def receipt_fields(dice: random.Random) -> dict[str, object]:
    """Return the fields of a random receipt."""
    merchant = dice.choice(sorted(SHOPS))
    category, goods = SHOPS[merchant]
    return {
        "amount": dice.randrange(110, 30_000),
        "type": "income" if category == "sale" else "expense",
        "date": f"2025-{dice.randrange(1, 12):02}-{dice.randrange(1, 29):02}",
        "merchant": merchant,
        "category": category,
        "description": dice.choice(goods),
    }


def make_image(image_id: str) -> bytes:
    """Return a small PNG. Readers ignore the image id at its end, which makes each image unique."""
    return PNG + image_id.encode()


def make_readable_image(receipt: Receipt) -> bytes:
    """Return a small PNG with the receipt in a text chunk, from which the stand-in for Bedrock reads it.

    Source: PNG Specification, "Chunk layout" and "tEXt Textual data".
    """
    data = f"{RECEIPT_KEYWORD}\0{json.dumps(receipt.fields)}".encode()
    chunk = b"tEXt" + data
    text = struct.pack(">I", len(data)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return PNG[:-PNG_END_BYTES] + text + PNG[-PNG_END_BYTES:]


def simple_lines(receipts: list[Receipt]) -> Iterator[str]:
    """Yield the lines of an output in the simple layout. Of the bad lines, one is cut off, one has a bad amount."""
    cut_off, bad_amount = BAD_LINES
    for number, receipt in enumerate(receipts, 1):
        fields = {**receipt.fields, "amount": -1} if number == bad_amount else receipt.fields
        line = _json({"customData": receipt.image_id, "output": {"text": _json(fields)}})
        yield line[: len(line) // 2] if number == cut_off else line


def bedrock_lines(receipts: list[Receipt]) -> Iterator[str]:
    """Yield the lines that Bedrock writes for Nova. Of the bad lines, one is an error, one is cut short."""
    error, cut_short = BAD_LINES
    for number, receipt in enumerate(receipts, 1):
        text = _json(receipt.fields)
        image = {"format": "png", "source": {"bytes": base64.b64encode(make_image(receipt.image_id)).decode()}}
        model_input = {"messages": [{"role": "user", "content": [{"image": image}]}]}
        if number == error:
            outcome: dict[str, object] = {"error": {"errorCode": 400, "errorMessage": "The image could not be read"}}
        elif number == cut_short:
            outcome = {"modelOutput": nova_output(text[: len(text) // 2], "max_tokens")}
        else:
            outcome = {"modelOutput": nova_output(text, "end_turn")}
        yield _json({"recordId": receipt.image_id, "modelInput": model_input, **outcome})


def bedrock_counts(count: int) -> RecordCounts:
    """Return the counts of the output manifest for so many `bedrock_lines`. Bedrock counts a cut reply as a success."""
    return record_counts(count, errors=int(count >= BAD_LINES[0]), tokens=(count, count))


def record_counts(count: int, errors: int, tokens: tuple[int, int]) -> RecordCounts:
    """Return the counts of the output manifest for an output with so many lines, errors, and tokens in and out."""
    return RecordCounts(
        totalRecordCount=count,
        processedRecordCount=count,
        successRecordCount=count - errors,
        errorRecordCount=errors,
        inputTokenCount=tokens[0],
        outputTokenCount=tokens[1],
    )


def nova_output(text: str, stop_reason: str, tokens: tuple[int, int] = (1, 1)) -> dict[str, object]:
    """Return Nova's `modelOutput`, with the tokens read and written.

    Source: Amazon Nova user guide, "Complete request schema".
    """
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": stop_reason,
        "usage": {"inputTokens": tokens[0], "outputTokens": tokens[1], "totalTokens": sum(tokens)},
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
