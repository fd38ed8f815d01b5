"""The prompt asks for the fields of a receipt."""

import re

from batch_orchestrator.prompt import FIELDS, QUESTION, SYSTEM, model_input
from yorutsuke_common.schema import Receipt


def test_prompt_asks_for_the_receipt_fields_in_order() -> None:
    assert list(FIELDS) == list(Receipt.model_fields)
    assert re.findall(r"^- (\w+): ", QUESTION, re.MULTILINE) == list(Receipt.model_fields)


def test_prompt_lists_the_choices_of_a_receipt() -> None:
    assert FIELDS["type"].startswith('"income" | "expense"。')
    assert FIELDS["category"].startswith('"sale" | "purchase" | "shipping" | "packaging" | "fee" | "other"。')


def test_prompt_asks_for_one_object_in_both_languages() -> None:
    assert "JSONオブジェクトを1つだけ返し" in SYSTEM
    assert "Reply with one JSON object and nothing else" in SYSTEM


def test_model_input_has_the_form_of_nova() -> None:
    assert model_input("png", "aGVsbG8=") == {
        "schemaVersion": "messages-v1",
        "system": [{"text": SYSTEM}],
        "messages": [
            {
                "role": "user",
                "content": [{"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}, {"text": QUESTION}],
            }
        ],
        "inferenceConfig": {"maxTokens": 1_000, "temperature": 0},
    }
