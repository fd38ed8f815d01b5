"""A night's receipts, made up: images, and what a model would have read in them. The same seed, the same receipts."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from yorutsuke_common.schema import RecordCounts

SHOPS = {
    "コンビニ港店": ("purchase", ("コピー用紙", "ボールペン", "封筒")),
    "Kissa Hoshi": ("other", ("Coffee with a client", "Lunch meeting")),
    "日本郵便": ("shipping", ("レターパック", "ゆうパック 60サイズ")),
    "Packaging Depot": ("packaging", ("Bubble wrap", "Boxes, 20 pieces")),
    "Flea Market Stall 7": ("sale", ("Vintage lamp", "Two chairs")),
    "みずほ銀行": ("fee", ("振込手数料",)),
}
BAD_LINES = (48, 113)
"""The lines of an output that cannot become transactions, counted from 1."""


@dataclass(frozen=True)
class Receipt:
    """One receipt: its image id, and the JSON object that the model read."""

    image_id: str
    fields: dict[str, object]


def make_receipts(count: int, seed: int = 1, prefix: str = "") -> list[Receipt]:
    """Return receipts with distinct image ids, which begin with the prefix."""
    dice = random.Random(seed)  # noqa: S311 - sample data
    return [Receipt(f"{prefix}img-{number:05}", receipt_fields(dice)) for number in range(1, count + 1)]


def receipt_fields(dice: random.Random) -> dict[str, object]:
    """Return what a model may have read in a receipt."""
    merchant = dice.choice(sorted(SHOPS))
    category, goods = SHOPS[merchant]
    return {
        "amount": dice.randrange(110, 30_000),
        "type": "income" if category == "sale" else "expense",
        "date": f"2026-{dice.randrange(1, 12):02}-{dice.randrange(1, 29):02}",
        "merchant": merchant,
        "category": category,
        "description": dice.choice(goods),
    }


def plan_lines(receipts: list[Receipt]) -> Iterator[str]:
    """Yield the lines of `output.jsonl`, two of them bad: one is no JSON, one says no valid transaction."""
    no_json, no_transaction = BAD_LINES
    for number, receipt in enumerate(receipts, 1):
        fields = {**receipt.fields, "amount": -1} if number == no_transaction else receipt.fields
        line = _json({"customData": receipt.image_id, "output": {"text": _json(fields)}})
        yield line[: len(line) // 2] if number == no_json else line


def bedrock_lines(receipts: list[Receipt]) -> Iterator[str]:
    """Yield the lines that Bedrock writes for Nova, two of them bad: one is an error, one reply was cut short."""
    error, cut_short = BAD_LINES
    for number, receipt in enumerate(receipts, 1):
        text = _json(receipt.fields)
        if number == error:
            outcome: dict[str, object] = {"error": {"errorCode": 400, "errorMessage": "The image could not be read"}}
        elif number == cut_short:
            outcome = {"modelOutput": nova_output(text[: len(text) // 2], "max_tokens")}
        else:
            outcome = {"modelOutput": nova_output(text, "end_turn")}
        yield _json({"recordId": receipt.image_id, "modelInput": _nova_input(receipt.image_id), **outcome})


def bedrock_counts(count: int) -> RecordCounts:
    """Return what Bedrock's manifest counts of as many `bedrock_lines`: a reply cut short is a success to Bedrock."""
    errors = sum(line <= count for line in BAD_LINES[:1])
    return RecordCounts(
        totalRecordCount=count,
        processedRecordCount=count,
        successRecordCount=count - errors,
        errorRecordCount=errors,
        inputTokenCount=count,
        outputTokenCount=count,
    )


def _nova_input(image_id: str) -> dict[str, object]:
    image = {"format": "png", "source": {"bytes": base64.b64encode(make_image(image_id)).decode()}}
    return {"messages": [{"role": "user", "content": [{"image": image}, {"text": "レシートを読み取ってください。"}]}]}


def nova_output(text: str, stop_reason: str, input_tokens: int = 1, output_tokens: int = 1) -> dict[str, object]:
    """Return Nova's `modelOutput`. Source: Amazon Nova user guide, "Complete request schema"."""
    message = {"role": "assistant", "content": [{"text": text}]}
    usage = {
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "totalTokens": input_tokens + output_tokens,
    }
    return {"output": {"message": message}, "stopReason": stop_reason, "usage": usage}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def make_image(image_id: str) -> bytes:
    """Return a small PNG, its grey level and its text chunk made from the image id.

    Source of the layout: PNG specification, W3C.
    """
    grey = zlib.crc32(image_id.encode()) % 256
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = bytes([0, *[grey] * 8]) * 8
    text = b"Title\0" + image_id.encode("latin-1", "replace")[:79]
    chunks = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
