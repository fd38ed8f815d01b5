"""Tests of the drawn receipts, the prices and the names of a smoke run."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from yorutsuke.clients import make_clients
from yorutsuke.errors import UnfinishedError
from yorutsuke.smoke.drawing import draw
from yorutsuke.smoke.job_end import follow
from yorutsuke.smoke.prices import Tokens, cost
from yorutsuke.smoke.receipts import RECEIPT_KEYWORD, make_receipts
from yorutsuke.smoke.run import SmokeRun, new_run, run_of_marker
from yorutsuke.stage import find_stage
from yorutsuke_common.records.exact_json import decode
from yorutsuke_common.schema import Receipt, SubmitRequest

from .hostile_aws import HostileAws

RUN = SmokeRun("smoke-0123456789abcdef")
OPTIONS = "--stage dev --region eu-west-1 --profile 'my profile'"
TOKENS = Tokens(1_000_000, 500_000)


def _open(content: bytes) -> PngImageFile:
    image = Image.open(io.BytesIO(content))
    assert isinstance(image, PngImageFile)
    return image


def test_every_receipt_is_a_different_image() -> None:
    receipts = make_receipts(RUN.run_id, RUN.image_ids)

    pixels = {_open(draw(receipt)).tobytes() for receipt in receipts}

    assert len(pixels) == len(receipts) == 100
    assert len({receipt.amount for receipt in receipts}) > 90
    assert make_receipts(RUN.run_id, RUN.image_ids) == receipts
    assert make_receipts(new_run().run_id, RUN.image_ids) != receipts


def test_pixels_show_amount_date_and_shop() -> None:
    [receipt] = make_receipts(RUN.run_id, ["a"])
    drawn = _open(draw(receipt)).tobytes()

    for changed in (
        replace(receipt, date=receipt.date + timedelta(1)),
        replace(receipt, shop="OTHER SHOP"),
        replace(receipt, items=[(name, price + 1) for name, price in receipt.items]),
    ):
        assert _open(draw(changed)).tobytes() != drawn
    assert draw(replace(receipt, image_id="b")) == draw(receipt)


def test_text_stays_inside_the_margins() -> None:
    for receipt in make_receipts(RUN.run_id, RUN.image_ids):
        image = _open(draw(receipt))
        inverted = image.point([255 - value for value in range(256)])
        left, top, right, bottom = inverted.getbbox() or (0, 0, 0, 0)
        assert (left > 16, top > 16, right < image.width - 16, bottom < image.height - 16) == (True,) * 4


def test_text_chunk_holds_a_valid_receipt() -> None:
    for receipt in make_receipts(RUN.run_id, RUN.image_ids):
        text = _open(draw(receipt)).text[RECEIPT_KEYWORD]

        assert json.loads(str(text)) == receipt.fields()
        assert Receipt.model_validate(decode(str(text))).amount == receipt.amount


@pytest.mark.parametrize(
    ("model_id", "dollars"),
    [
        ("amazon.nova-lite-v1:0", "0.09"),
        ("apac.amazon.nova-lite-v1:0", "0.09"),
        ("us-gov.amazon.nova-lite-v1:0", "0.09"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "1.75"),
    ],
)
def test_cost_follows_from_model_and_tokens(model_id: str, dollars: str) -> None:
    assert cost(model_id, TOKENS) == Decimal(dollars)


@pytest.mark.parametrize(
    ("model_id", "tokens"),
    [
        ("amazon.nova-9-v1:0", TOKENS),
        ("arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abcdefgh1234", TOKENS),
        (None, TOKENS),
        ("amazon.nova-lite-v1:0", None),
    ],
)
def test_unknown_cost_is_not_zero(model_id: str | None, tokens: Tokens | None) -> None:
    assert cost(model_id, tokens) is None


def test_run_is_found_by_its_marker() -> None:
    run = new_run()

    assert run_of_marker(run.marker_key) == run
    for key in (
        "smoke/",
        "smoke/user-1.json",
        f"uploads/{run.run_id}.json",
        f"{run.marker_key}x",
        "smoke/smoke-1.json",
    ):
        assert run_of_marker(key) is None


def test_request_of_a_run_is_valid() -> None:
    run = new_run()

    SubmitRequest(intentId=run.run_id, userId=run.run_id, pendingImageIds=run.image_ids)


def test_processed_prefixes_cover_every_time_zone() -> None:
    today = datetime.now(UTC).date()

    prefixes = [*RUN.processed_prefixes(datetime.now(UTC) - timedelta(days=2))]

    days = [today + timedelta(days=offset) for offset in range(-3, 2)]
    assert prefixes == [f"processed/{day.isoformat()}/{RUN.run_id}/" for day in days]


@pytest.mark.parametrize(
    ("submitted", "written", "problem", "remedy"),
    [
        (
            timedelta(hours=4),
            timedelta(hours=3),
            "the stage has not processed the output of job 'job1' within 2 h.",
            f"`yorutsuke doctor {OPTIONS}` and `yorutsuke job job1 {OPTIONS}` show the cause.",
        ),
        (
            timedelta(days=8),
            timedelta(),
            "job 'job1' has been SUBMITTED for longer than a job of Bedrock takes.",
            f"`yorutsuke doctor {OPTIONS}` shows the cause.",
        ),
    ],
)
def test_late_job_ends_the_run_with_its_remedy(
    submitted: timedelta, written: timedelta, problem: str, remedy: str
) -> None:
    now, aws = datetime.now(UTC), HostileAws()
    aws.job = {"intentId": RUN.run_id, "jobId": "job1", "status": "SUBMITTED", "submitTime": str(now - submitted)}
    output = {"Key": "batch-output/job1/output.jsonl", "ETag": "etag", "Size": 1, "LastModified": now - written}
    aws.answers["ListObjectsV2"] = lambda _: {"Contents": [output]}
    stage = find_stage("dev", make_clients(aws.session), "eu-west-1", "my profile")

    with pytest.raises(UnfinishedError) as raised:
        follow(stage, RUN.run_id, lambda _: None)

    assert (raised.value.problem, raised.value.remedy) == (problem, remedy)
