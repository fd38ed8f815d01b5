"""The choice between images within the manifest and images in S3."""

import pytest

from batch_orchestrator.delivery import choose_delivery
from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.schema import ImageDelivery

NOVA = "apac.amazon.nova-lite-v1:0"
PROFILE = "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/abcdefgh1234"


@pytest.mark.parametrize(
    ("requested", "model_id", "setting", "chosen"),
    [
        (None, NOVA, "inline", "inline"),
        (None, NOVA, "s3", "s3"),
        ("s3", NOVA, "inline", "s3"),
        ("inline", NOVA, "s3", "inline"),
        (None, "amazon.nova-pro-v1:0", "s3", "s3"),
        (None, "anthropic.claude-haiku-4-5-20251001-v1:0", "s3", "inline"),
        ("inline", "anthropic.claude-haiku-4-5-20251001-v1:0", "s3", "inline"),
        (None, PROFILE, "s3", "inline"),
    ],
)
def test_delivery_follows_request_model_and_setting(
    requested: ImageDelivery | None, model_id: str, setting: ImageDelivery, chosen: ImageDelivery
) -> None:
    assert choose_delivery(requested, model_id, setting) == chosen


def test_request_for_s3_is_refused_for_other_models() -> None:
    with pytest.raises(InvalidRequestError) as raised:
        choose_delivery("s3", PROFILE, "s3")

    assert str(raised.value) == (
        f"imageDelivery is s3, but model '{PROFILE}' does not read images from S3. Name an Amazon Nova model by its id "
        "or its inference profile, or leave imageDelivery out."
    )
