"""Which images can be sent, and why the others cannot."""

import io
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from batch_orchestrator.images import MAX_IMAGE_BYTES, Image, ImageReader, Unfit, select_images
from batch_orchestrator.manifest import manifest_line
from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item
from yorutsuke_common.aws.pending_images import PendingImages

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

PENDING: Item = {
    "imageId": {"S": "image-1"},
    "userId": {"S": "user-1"},
    "s3Key": {"S": "uploads/user-1/a.jpg"},
    "status": {"S": "pending"},
}
IMAGE = Image("image-1", "uploads/user-1/a.jpg", "jpeg")


def a_while() -> float:
    """Return the seconds that are left, which are enough."""
    return 900


@dataclass
class Table:
    """A pending-images table of a few items."""

    items: list[Item]

    def batch_get_item(self, **_request: Any) -> dict[str, Any]:
        return {"Responses": {"pending-images": self.items}, "UnprocessedKeys": {}}


@dataclass
class Body:
    """What is to be read of an answer."""

    content: Callable[[], bytes]

    def read(self) -> bytes:
        return self.content()

    def close(self) -> None:
        """Let the connection go."""


@dataclass
class Bucket:
    """A bucket that answers as it is told to."""

    answer: Callable[[str], dict[str, Any]]
    asked: list[str] = field(default_factory=list[str])

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert Bucket == "images"
        self.asked.append(Key)
        return self.answer(Key)


def find(*items: Item, image_ids: tuple[str, ...] = ("image-1",)) -> tuple[list[Image], dict[str, Unfit]]:
    """Return what user-1 finds of images in a table of these items."""
    batch = ChunkedClient(cast("DynamoDBClient", Table(list(items))), CallPool(), Logs().logger)
    return select_images(image_ids, PendingImages(batch, "pending-images").find(image_ids), "user-1")


def body(content: bytes) -> dict[str, Any]:
    return {"ContentLength": len(content), "Body": io.BytesIO(content)}


def refused(code: str) -> Callable[[str], dict[str, Any]]:
    def answer(_: str) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": code}}, "GetObject")

    return answer


def read(answer: Callable[[str], dict[str, Any]], *images: Image) -> list[tuple[Image, bytes | Unfit]]:
    return list(ImageReader(cast("S3Client", Bucket(answer)), "images").read(images, a_while))


def test_the_users_pending_images_are_found_in_order_of_their_ids() -> None:
    second = {**PENDING, "imageId": {"S": "image-2"}, "s3Key": {"S": "user-1/b.PNG"}}

    assert find(second, PENDING, image_ids=("image-2", "image-1", "image-3")) == (
        [IMAGE, Image("image-2", "uploads/user-1/b.PNG", "png")],
        {"image-3": Unfit.UNKNOWN},
    )


@pytest.mark.parametrize(
    ("extension", "image_format"),
    [("jpg", "jpeg"), ("jpeg", "jpeg"), ("JPG", "jpeg"), ("png", "png"), ("gif", "gif"), ("webp", "webp")],
)
def test_the_format_is_what_the_extension_says(extension: str, image_format: str) -> None:
    [image], left_out = find({**PENDING, "s3Key": {"S": f"user-1/a.b.{extension}"}})

    assert (image.format, left_out) == (image_format, {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"userId": {"S": "user-2"}}, Unfit.FOREIGN),
        ({"userId": {"S": "user-2"}, "status": {"S": "processed"}}, Unfit.FOREIGN),
        ({"userId": {"N": "1"}}, Unfit.FOREIGN),
        ({"status": {"S": "processed"}}, Unfit.NOT_PENDING),
        ({"status": {"S": "failed"}}, Unfit.NOT_PENDING),
        ({"s3Key": {"S": "uploads/user-1/a.heic"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/user-1/png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/\x00.png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"NULL": True}}, Unfit.UNSUPPORTED),
    ],
)
def test_an_image_that_cannot_be_sent_is_left_out_with_its_reason(changes: Item, reason: Unfit) -> None:
    assert find({**PENDING, **changes}) == ([], {"image-1": reason})


def test_an_image_without_a_status_is_pending() -> None:
    assert find({name: value for name, value in PENDING.items() if name != "status"}) == ([IMAGE], {})


def test_images_are_read_in_order() -> None:
    images = [Image(str(number), f"uploads/{number}", "png") for number in range(40)]

    assert read(lambda key: body(key.encode()), *images) == [(image, image.key.encode()) for image in images]


def test_the_reader_holds_no_more_images_than_it_reads_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 3)
    held: set[str] = set()

    def answer(key: str) -> dict[str, Any]:
        return {"ContentLength": 10, "Body": Body(lambda: held.add(key) or b"0123456789")}

    images = [Image(str(number), f"uploads/{number}", "png") for number in range(200)]
    for image, _ in ImageReader(cast("S3Client", Bucket(answer)), "images").read(images, a_while):
        # Three in the window, and the one that was yielded.
        assert len(held) <= 4
        held.remove(image.key)


def test_closing_the_reader_waits_for_started_reads_and_starts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 2)
    may_read, finished = threading.Event(), list[str]()

    def answer(key: str) -> dict[str, Any]:
        if key != "uploads/0":
            may_read.wait()
        return {"ContentLength": 1, "Body": Body(lambda: finished.append(key) or b"0")}

    bucket = Bucket(answer)
    images = [Image(str(number), f"uploads/{number}", "png") for number in range(9)]
    reading = ImageReader(cast("S3Client", bucket), "images").read(images, a_while)
    next(reading)
    threading.Timer(0.05, may_read.set).start()

    reading.close()

    started = list(bucket.asked)
    assert sorted(finished) == sorted(started)
    assert len(started) < len(images)


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied"])
def test_an_image_that_is_gone_is_left_out(code: str) -> None:
    assert read(refused(code), IMAGE) == [(IMAGE, Unfit.UNREADABLE)]


def test_a_bucket_that_does_not_answer_fails_the_reading() -> None:
    with pytest.raises(ClientError, match="SlowDown"):
        read(refused("SlowDown"), IMAGE)


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (18_000_000, True), (18_000_001, False)])
def test_an_image_that_is_empty_or_too_large_is_left_out_unread(size: int, fits: bool) -> None:  # noqa: FBT001
    content = io.BytesIO(b"content")

    [(_, found)] = read(lambda _: {"ContentLength": size, "Body": content}, IMAGE)

    assert found == (b"content" if fits else Unfit.UNFIT_SIZE)
    assert content.closed


def test_the_largest_image_makes_a_request_that_nova_takes() -> None:
    assert 24_000_000 < len(manifest_line(IMAGE, bytes(MAX_IMAGE_BYTES))) < 25_000_000


def breaking_off(error: Exception, times: int) -> Callable[[str], dict[str, Any]]:
    """Return answers whose content breaks off so many times, and then does not."""
    left = [error] * times

    def content() -> bytes:
        if left:
            raise left.pop()
        return b"content"

    return lambda _: {"ContentLength": 7, "Body": Body(content)}


BREAKS = [
    ReadTimeoutError(endpoint_url="https://s3"),
    ResponseStreamingError(error=ValueError()),
    IncompleteReadError(actual_bytes=3, expected_bytes=7),
    FlexibleChecksumError(error_msg="another checksum"),
    urllib3.exceptions.SSLError("decryption failed"),
]


@pytest.mark.parametrize("error", BREAKS, ids=lambda error: type(error).__name__)
def test_the_reader_repeats_a_read_whose_body_breaks_off(error: Exception) -> None:
    bucket = Bucket(breaking_off(error, times=2))
    reader = ImageReader(cast("S3Client", bucket), "images")

    assert list(reader.read([IMAGE], a_while)) == [(IMAGE, b"content")]
    assert bucket.asked == [IMAGE.key] * 3


@pytest.mark.parametrize("error", BREAKS, ids=lambda error: type(error).__name__)
def test_an_image_whose_content_breaks_off_each_time_fails_the_reading(error: Exception) -> None:
    bucket = Bucket(breaking_off(error, times=3))

    with pytest.raises(type(error)):
        list(ImageReader(cast("S3Client", bucket), "images").read([IMAGE], a_while))

    assert bucket.asked == [IMAGE.key] * 3


class _Server(BaseHTTPRequestHandler):
    """Says how long an image is, and closes the connection in its midst, so many times."""

    protocol_version = "HTTP/1.1"
    breaks = 0
    asked = 0

    def do_GET(self) -> None:
        """Answer a read."""
        type(self).asked += 1
        breaks = self.asked <= self.breaks
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"con" if breaks else b"content")
        self.close_connection = breaks

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def _served(breaks: int) -> "Generator[ImageReader]":
    """Read from a server on loopback that breaks off so many times, with a client that tries each call once."""
    _Server.breaks, _Server.asked = breaks, 0
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever).start()
        session = boto3.Session("an-id", "a-key", region_name="ap-northeast-1")
        s3 = session.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        try:
            yield ImageReader(s3, "images")
        finally:
            s3.close()
            server.shutdown()


def test_a_connection_that_breaks_off_within_an_image_is_made_good() -> None:
    with _served(breaks=2) as reader:
        assert list(reader.read([IMAGE], a_while)) == [(IMAGE, b"content")]

    assert _Server.asked == 3


def test_connections_that_break_off_each_time_fail_the_reading() -> None:
    with _served(breaks=3) as reader, pytest.raises(ResponseStreamingError):
        list(reader.read([IMAGE], a_while))

    assert _Server.asked == 3
