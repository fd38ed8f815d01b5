"""The prompt asks for the fields of a receipt."""

import re
from typing import TYPE_CHECKING, cast

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator

from batch_orchestrator.prompt import FIELDS, QUESTION, SYSTEM, invocation_type, model_input
from yorutsuke_common.schema import Receipt

if TYPE_CHECKING:
    from botocore.model import Shape


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
    assert model_input("png", {"bytes": "aGVsbG8="}) == {
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


def test_converse_input_omits_version_and_temperature() -> None:
    assert model_input("png", {"bytes": "aGVsbG8="}, "Converse") == {
        "system": [{"text": SYSTEM}],
        "messages": [
            {
                "role": "user",
                "content": [{"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}, {"text": QUESTION}],
            }
        ],
        "inferenceConfig": {"maxTokens": 1_000},
    }


def test_converse_input_matches_the_api() -> None:
    operation = get_session().get_service_model("bedrock-runtime").operation_model("Converse")
    request = {
        "modelId": "anthropic.claude-haiku-4-5-20251001-v1:0",
        **model_input("png", {"bytes": "aGVsbG8="}, "Converse"),
    }

    report = ParamValidator().validate(request, cast("Shape", operation.input_shape))

    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("geography", ["", "apac.", "eu.", "global.", "us.", "us-gov."])
def test_nova_is_invoked_without_converse(geography: str) -> None:
    assert invocation_type(f"{geography}amazon.nova-lite-v1:0") is None


@pytest.mark.parametrize(
    "model_id",
    [
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "jp.anthropic.claude-haiku-4-5-20251001-v1:0",
        "amazon.titan-text-premier-v1:0",
        "qwen.qwen3-vl-235b-a22b",
        "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/abcdefgh1234",
    ],
)
def test_other_models_are_invoked_with_converse(model_id: str) -> None:
    assert invocation_type(model_id) == "Converse"
