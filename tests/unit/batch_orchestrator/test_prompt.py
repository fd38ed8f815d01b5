"""What the model is asked for is what its reply is read as."""

import re

from batch_orchestrator.prompt import FIELDS, QUESTION, SYSTEM, model_input
from yorutsuke_common.schema import Receipt


def test_every_field_of_a_receipt_is_asked_for_and_no_other_in_its_order() -> None:
    assert list(FIELDS) == list(Receipt.model_fields)
    assert re.findall(r"^- (\w+): ", QUESTION, re.MULTILINE) == list(Receipt.model_fields)


def test_the_choices_are_those_that_a_receipt_takes() -> None:
    assert FIELDS["type"].startswith('"income" | "expense"。')
    assert FIELDS["category"].startswith('"sale" | "purchase" | "shipping" | "packaging" | "fee" | "other"。')


def test_both_languages_ask_for_one_object_and_nothing_else() -> None:
    assert "JSONオブジェクトを1つだけ返し" in SYSTEM
    assert "Reply with one JSON object and nothing else" in SYSTEM


def test_the_request_has_novas_form() -> None:
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
