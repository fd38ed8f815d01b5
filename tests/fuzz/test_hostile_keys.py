"""An image with any key moves from `uploads/` to `processed/{date}/` and does not overwrite another image.

The role may only read and delete `uploads/*` and write `processed/*`.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus

import boto3
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local.in_memory import InMemoryAws, Table
from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, TimeLimit
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item
from yorutsuke_common.aws.image_moves import INVALID_KEY, ImageMover, ReadImage, Submitted
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import PendingImages, StoredImage
from yorutsuke_common.events import Origin, OutputObject, job_events
from yorutsuke_common.object_keys import processed_key

from .runs import FUZZ

OTHER = "batch-output/abcdefgh1234/output.jsonl"
DATE = "2026-11-23"
NAMES = st.sampled_from(
    [
        *(
            "a.jpg",
            "a b.jpg",
            "a+b.jpg",
            "a%2Fb.jpg",
            "喫茶.jpg",
            "..",
            "../..",
            "../processed",
            "uploads",
            "processed",
        ),
        *(
            "",
            "/",
            ".",
            "\r",
            "\n",
            "\t",
            "\x00",
            "\x1f",
            "\x7f",
            "\x85",
            "\ufffe",
            "\u202e",
            "👩\u200d🚀",
            "'\"&<>",
            "]]>",
        ),
        *("</Key><Key>uploads/b.jpg", "&#x41;", "?versionId=1", "#a", "x" * 900, "画" * 300),
    ]
)
# DynamoDB stores only valid Unicode. The texts exclude lone surrogates.
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PATHS = st.lists(NAMES | WORDS, min_size=1, max_size=4).map("/".join)
S3_KEYS = st.builds("".join, st.tuples(st.sampled_from(["user-1/", "uploads/user-1/", "", "user-2/"]), PATHS))
IMAGE_IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@dataclass(frozen=True)
class Bucket:
    """AWS in memory, and the mover of its images."""

    aws: InMemoryAws
    mover: ImageMover

    def fill(self, s3_keys: Mapping[str, str]) -> list[StoredImage]:
        """Reset the bucket to these images, by image id, and one other object. Return the stored images."""
        items: dict[tuple[str, ...], Item] = {
            (image_id,): {"imageId": {"S": image_id}, "userId": {"S": "user-1"}, "s3Key": {"S": s3_key}}
            for image_id, s3_key in s3_keys.items()
        }
        self.aws.tables["pending-images"] = Table(("imageId",), items)
        self.aws.objects.clear()
        self.aws.put_object(OTHER, b"")
        images = list(self.mover.pending.find(list(s3_keys)).values())
        for image in images:
            if image.upload_key:
                self.aws.put_object(image.upload_key, image.upload_key.encode())
        return images


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    aws = InMemoryAws({})
    session = boto3.Session("in-memory", "in-memory", region_name="ap-northeast-1")
    aws.serve(session)
    logger, pool = Logs().logger, CallPool()
    with closing(session.client("s3")) as s3, closing(session.client("dynamodb")) as dynamodb:
        pending = PendingImages(ChunkedClient(dynamodb, pool, TimeLimit(), logger), "pending-images")
        copier = ObjectCopier(s3, "images", 1, logger)
        yield Bucket(aws, ImageMover(s3, "images", copier, pending, pool, logger))


@settings(FUZZ, max_examples=60, derandomize=True)
@given(s3_keys=st.dictionaries(IMAGE_IDS, S3_KEYS, min_size=1, max_size=5))
@example(s3_keys={"a": "user-1/x.jpg", "b": "uploads/user-1/x.jpg", "c": "uploads/uploads/user-1/x.jpg"})
@example(s3_keys={"a": "user-1/\r.jpg", "b": "user-1/\n.jpg", "c": "user-1/\r\n.jpg"})
@example(s3_keys={"a": "processed/2026-11-23/x.jpg", "b": "user-1//x.jpg", "c": "user-1/../x.jpg"})
def test_image_moves_only_from_uploads_to_processed(bucket: Bucket, s3_keys: dict[str, str]) -> None:
    images = bucket.fill(s3_keys)
    moves = {
        processed_key(image.image_id, image.upload_key, f'"{bucket.aws.objects[image.upload_key].etag}"', DATE): (
            image.upload_key
        )
        for image in images
        if image.upload_key
    }

    submitted = Submitted("intent-1", datetime.now(UTC) + timedelta(seconds=1))
    failures = bucket.mover.move([ReadImage(image, "t-1") for image in images], submitted, DATE)

    assert failures == {image.image_id: INVALID_KEY for image in images if not image.upload_key}
    assert len(moves) == len(s3_keys) - len(failures)
    assert all(key.startswith("uploads/user-1/") for key in moves.values())
    assert all(key.startswith(f"processed/{DATE}/") for key in moves)
    # The in-memory AWS parses the XML of DeleteObjects, so a key that is escaped wrongly stays in `objects`.
    found = {key: stored.body.decode() for key, stored in bucket.aws.objects.items()}
    assert found == {OTHER: "", **moves}


@settings(FUZZ, max_examples=300, derandomize=True)
@given(st.lists(IMAGE_IDS, min_size=2, max_size=2, unique=True), st.lists(S3_KEYS, min_size=2, max_size=2))
@example(["a", "b"], ["u/x.jpg", "uploads/u/x.jpg"])
def test_two_images_have_different_processed_keys(image_ids: list[str], s3_keys: list[str]) -> None:
    keys = {
        processed_key(image_id, f"uploads/{s3_key}", '"e"', DATE)
        for image_id, s3_key in zip(image_ids, s3_keys, strict=True)
    }

    assert len(keys) == 2


@settings(FUZZ, max_examples=300, derandomize=True)
@given(S3_KEYS, st.sampled_from([".jsonl", ".jsonl.out"]))
def test_notification_with_any_output_name_is_decoded(name: str, ending: str) -> None:
    """S3 form-encodes the keys of its notifications."""
    key = f"batch-output/abcdefgh1234/output{name.replace('/', '')}{ending}"
    event = {"Records": [{"s3": {"bucket": {"name": "images"}, "object": {"key": quote_plus(key)}}}]}

    assert job_events(event, Origin("123456789012", "eu-west-1", "images")) == [OutputObject("images", key)]
