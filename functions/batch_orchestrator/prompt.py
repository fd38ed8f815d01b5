"""The model request that asks for the fields of a transaction, given the image of one receipt.

The allowed values of `type` and `category` come from the layer's `Receipt`, which validates the reply. The request is
a record's `modelInput` in a batch job. It has the form of Amazon Nova's InvokeModel request in a Nova job, and the form
of Converse in a job of another model.

Sources: Amazon Bedrock user guide, "Format and upload your batch inference data"; Amazon Nova user guide, "Complete
request schema" (images as base64 or by S3 URI; `maxTokens` up to 5,000) and "Troubleshooting tool calls" (a temperature
of 0 is greedy decoding); Amazon Bedrock API reference, Converse and ImageSource (`bytes` is base64 text in JSON).
"""

import re
from collections.abc import Mapping
from typing import Any, get_args

from yorutsuke_common.schema import InvocationType, Receipt

NOVA = re.compile(r"([a-z-]+\.)?amazon\.nova-.+")
"""The ids of Nova's foundation models and of their inference profiles, which begin with a geography."""

MAX_TOKENS = 1_000
"""Maximum length of a reply, in tokens: several times the length of six fields. A truncated reply is a dead letter."""


def _choices(field: str) -> str:
    return " | ".join(f'"{choice}"' for choice in get_args(Receipt.model_fields[field].annotation))


FIELDS = {
    "amount": "合計金額（税込）。0より大きい数値。返金も正の数値。通貨記号や桁区切りは付けない。 "
    "The total, tax included: a number above 0, also for a refund, without currency or thousands separators.",
    "type": f"{_choices('type')}。受け取ったお金（返金を含む）は income、支払ったお金は expense。 "
    "Money received, such as a refund, is income; money paid is expense.",
    "date": "取引日。YYYY-MM-DD。和暦は西暦に直す。 The day of the transaction, YYYY-MM-DD, in the Gregorian calendar.",
    "merchant": "店名または相手の名前。印字どおり。 The shop or the other party, as printed.",
    "category": f"{_choices('category')}。売上は sale、仕入は purchase、送料は shipping、梱包材は packaging、"
    "手数料は fee、その他は other。 Goods sold, goods bought, postage, packing material, a fee, or anything else.",
    "description": "内容の短い要約。なければ空文字列。 What it was for, in a few words; an empty string if unclear.",
}
"""The instruction for each field, in the two languages of the receipts."""

SYSTEM = (
    "あなたは家計簿アプリのために、日本語または英語のレシートを読み取ります。"
    "JSONオブジェクトを1つだけ返し、説明やコードフェンスなど、それ以外は何も書かないでください。\n"
    "You read receipts in Japanese or English for a bookkeeping app. Reply with one JSON object and nothing else: no "
    "explanation, no code fence."
)
QUESTION = (
    "このレシートから次の項目をすべて読み取ってください。推測はしないでください。"
    "読み取れない項目は省き、レシートでなければ {} を返してください。\n"
    "Read all of these fields off the receipt. Do not guess: leave out what cannot be read, and reply {} if this is no "
    "receipt.\n" + "\n".join(f"- {name}: {asked}" for name, asked in FIELDS.items())
)


def invocation_type(model_id: str) -> InvocationType | None:
    """Return the type of a model's jobs: InvokeModel (None) for Nova, Converse for every other model.

    The ARN of an application inference profile does not name its model, so its jobs have the type Converse.
    """
    return None if NOVA.fullmatch(model_id) else "Converse"


def model_input(
    image_format: str, source: Mapping[str, object], invocation_type: InvocationType | None = None
) -> dict[str, Any]:
    """Return the model request for one image, in the form of a job's type.

    Args:
        image_format: jpeg, png, gif or webp.
        source: The image in base64 (`bytes`), or its URI in S3 (`s3Location`).
        invocation_type: The type of the job.
    """
    image = {"format": image_format, "source": source}
    request: dict[str, Any] = {
        "system": [{"text": SYSTEM}],
        "messages": [{"role": "user", "content": [{"image": image}, {"text": QUESTION}]}],
        "inferenceConfig": {"maxTokens": MAX_TOKENS},
    }
    if invocation_type == "Converse":
        # Without a temperature: newer models of Anthropic refuse a request that has one. Source: issue 10307 of
        # promptfoo/promptfoo, "Error using Opus 5 with Bedrock provider".
        return request
    request["inferenceConfig"]["temperature"] = 0
    return {"schemaVersion": "messages-v1", **request}
