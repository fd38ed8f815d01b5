"""The selection and the reading of a job's images."""

import io
import itertools
import threading
from collections.abc import Callable, Generator, Sequence
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

from batch_orchestrator.images import (
    MAX_CONVERSE_IMAGE_BYTES,
    MAX_IMAGE_BYTES,
    Content,
    Image,
    ImageReader,
    Unfit,
    hold_ahead,
    select_images,
)
from batch_orchestrator.manifest import manifest_line
from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, OutOfTimeError, TimeLimit, chunks
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item
from yorutsuke_common.aws.pending_images import PendingImages

from .samples import SUBMISSION, image

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

PENDING: Item = {
    "imageId": {"S": "image-1"},
    "userId": {"S": "user-1"},
    "s3Key": {"S": "uploads/user-1/a.jpg"},
    "status": {"S": "pending"},
}
IMAGE = image()
TIMEOUT_SECONDS = 30


def enough_seconds() -> float:
    """Return the seconds that are left. They are sufficient."""
    return 900


@dataclass
class Table:
    """A pending-images table of a few items."""

    items: list[Item]

    def batch_get_item(self, **_request: Any) -> dict[str, Any]:
        return {"Responses": {"pending-images": self.items}, "UnprocessedKeys": {}}


@dataclass
class Body:
    """The body of a response."""

    content: Callable[[], bytes]

    def read(self) -> bytes:
        return self.content()

    def close(self) -> None:
        """Accept the call without an effect."""


@dataclass
class Bucket:
    """A bucket with answers that come from a function."""

    answer: Callable[[str], dict[str, Any]]
    requested: list[str] = field(default_factory=list[str])

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert Bucket == "images"
        self.requested.append(Key)
        return self.answer(Key)


def find(
    *items: Item, image_ids: tuple[str, ...] = ("image-1",), accept_failed: bool = True
) -> tuple[list[Image], dict[str, Unfit]]:
    """Return the images that user-1 can submit from a table of these items, and the reasons for the others."""
    batch = ChunkedClient(cast("DynamoDBClient", Table(list(items))), CallPool(), TimeLimit(), Logs().logger)
    return select_images(
        image_ids, PendingImages(batch, "pending-images").find(image_ids), SUBMISSION, accept_failed=accept_failed
    )


def body(content: bytes) -> dict[str, Any]:
    """Return the response for an object whose ETag is its content in quotes."""
    return {"ContentLength": len(content), "ETag": f'"{content.decode()}"', "Body": io.BytesIO(content)}


def refused(code: str) -> Callable[[str], dict[str, Any]]:
    def answer(_: str) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": code}}, "GetObject")

    return answer


def read(answer: Callable[[str], dict[str, Any]], *images: Image) -> list[tuple[Image, Content | Unfit]]:
    return list(ImageReader(cast("S3Client", Bucket(answer)), "images").read(images, enough_seconds))


def test_pending_images_are_selected_in_the_given_order() -> None:
    second = {**PENDING, "imageId": {"S": "image-2"}, "s3Key": {"S": "user-1/b.PNG"}}

    images, left_out = find(second, PENDING, image_ids=("image-2", "image-1", "image-3"))

    selected = [("image-1", "uploads/user-1/a.jpg", "jpeg"), ("image-2", "uploads/user-1/b.PNG", "png")]
    assert [(found.image_id, found.key, found.format) for found in images] == selected
    assert left_out == {"image-3": Unfit.UNKNOWN}


@pytest.mark.parametrize(
    ("extension", "image_format"),
    [("jpg", "jpeg"), ("jpeg", "jpeg"), ("JPG", "jpeg"), ("png", "png"), ("gif", "gif"), ("webp", "webp")],
)
def test_image_format_follows_from_the_extension(extension: str, image_format: str) -> None:
    [found], left_out = find({**PENDING, "s3Key": {"S": f"user-1/a.b.{extension}"}})

    assert (found.format, left_out) == (image_format, {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"userId": {"S": "user-2"}}, Unfit.FOREIGN),
        ({"userId": {"S": "user-2"}, "status": {"S": "processed"}}, Unfit.FOREIGN),
        ({"userId": {"N": "1"}}, Unfit.FOREIGN),
        ({"status": {"S": "processed"}}, Unfit.NOT_PENDING),
        ({"status": {"S": "archived"}}, Unfit.NOT_PENDING),
        ({"status": {"S": "submitted"}}, Unfit.NOT_PENDING),
        ({"status": {"S": "submitted"}, "intentId": {"S": "intent-2"}}, Unfit.NOT_PENDING),
        ({"s3Key": {"S": "uploads/user-1/a.heic"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/user-1/png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/user-1/\x00.png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/user-2/a.png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": f"uploads/user-1/{'a' * 980}.png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"NULL": True}}, Unfit.UNSUPPORTED),
    ],
)
def test_unfit_image_is_left_out_with_its_reason(changes: Item, reason: Unfit) -> None:
    assert find({**PENDING, **changes}) == ([], {"image-1": reason})


@pytest.mark.parametrize(
    "changes", [{"status": {"S": "failed"}}, {"status": {"S": "submitted"}, "intentId": {"S": "intent-1"}}]
)
def test_failed_image_and_own_image_are_selected(changes: Item) -> None:
    [found], left_out = find({**PENDING, **changes})

    assert (found.image_id, left_out) == ("image-1", {})


def test_schedule_leaves_out_failed_image() -> None:
    failed = find({**PENDING, "status": {"S": "failed"}}, accept_failed=False)

    assert failed == ([], {"image-1": Unfit.NOT_PENDING})


def test_image_without_a_status_is_pending() -> None:
    assert find({name: value for name, value in PENDING.items() if name != "status"}) == ([IMAGE], {})


def test_images_are_read_in_order() -> None:
    images = [image(str(number), f"uploads/{number}", "png") for number in range(40)]

    assert read(lambda key: body(key.encode()), *images) == [
        (requested, Content(requested.key.encode(), f'"{requested.key}"')) for requested in images
    ]


def test_reader_limits_the_images_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 3)
    held: set[str] = set()

    def answer(key: str) -> dict[str, Any]:
        return {"ContentLength": 10, "ETag": "", "Body": Body(lambda: held.add(key) or b"0123456789")}

    images = [image(str(number), f"uploads/{number}", "png") for number in range(200)]
    for yielded, _ in ImageReader(cast("S3Client", Bucket(answer)), "images").read(images, enough_seconds):
        # Three images are in the window, and one was yielded.
        assert len(held) <= 4
        held.remove(yielded.key)


def test_closing_the_reader_waits_for_started_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 2)
    may_read, finished = threading.Event(), list[str]()

    def answer(key: str) -> dict[str, Any]:
        if key != "uploads/0":
            may_read.wait()
        return {"ContentLength": 1, "ETag": "", "Body": Body(lambda: finished.append(key) or b"0")}

    bucket = Bucket(answer)
    images = [image(str(number), f"uploads/{number}", "png") for number in range(9)]
    reading = ImageReader(cast("S3Client", bucket), "images").read(images, enough_seconds)
    next(reading)
    threading.Timer(0.05, may_read.set).start()

    reading.close()

    started = list(bucket.requested)
    assert sorted(finished) == sorted(started)
    assert len(started) < len(images)


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied"])
def test_unreadable_image_is_left_out(code: str) -> None:
    assert read(refused(code), IMAGE) == [(IMAGE, Unfit.UNREADABLE)]


def test_reader_raises_a_throttling_error() -> None:
    with pytest.raises(ClientError, match="SlowDown"):
        read(refused("SlowDown"), IMAGE)


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (18_000_000, True), (18_000_001, False)])
def test_image_of_unfit_size_is_not_read(size: int, fits: bool) -> None:  # noqa: FBT001
    content = io.BytesIO(b"content")

    [(_, found)] = read(lambda _: {"ContentLength": size, "ETag": "e", "Body": content}, IMAGE)

    assert found == (Content(b"content", "e") if fits else Unfit.UNFIT_SIZE)
    assert content.closed


@pytest.mark.parametrize(("size", "fits"), [(3_750_000, True), (3_750_001, False)])
def test_image_of_unfit_converse_size_is_not_read(size: int, fits: bool) -> None:  # noqa: FBT001
    content = io.BytesIO(b"content")
    bucket = Bucket(lambda _: {"ContentLength": size, "ETag": "e", "Body": content})
    reader = ImageReader(cast("S3Client", bucket), "images")

    [(_, found)] = reader.read([IMAGE], enough_seconds, MAX_CONVERSE_IMAGE_BYTES)

    assert found == (Content(b"content", "e") if fits else Unfit.UNFIT_SIZE)
    assert content.closed


@dataclass
class Holds:
    """Holds two images at a time, except image 3. From the third image on, it waits for `may_hold`."""

    may_hold: threading.Event = field(default_factory=threading.Event)
    held: list[str] = field(default_factory=list[str])
    started: threading.Event = field(default_factory=threading.Event)

    def hold(self, images: Sequence[Image]) -> list[Image]:
        if images[0].image_id != "0":
            self.started.set()
            assert self.may_hold.wait(TIMEOUT_SECONDS)
        self.held += [each.image_id for each in images]
        return [each for each in images if each.image_id != "3"]


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch) -> Holds:
    monkeypatch.setattr("batch_orchestrator.images.HOLDS_AHEAD", 2)
    return Holds()


BLOCKS = [*chunks([image(str(number)) for number in range(9)], 2)]


def test_only_held_images_are_yielded_in_order(holds: Holds) -> None:
    holds.may_hold.set()

    yielded = [each.image_id for each in hold_ahead(holds.hold, BLOCKS, enough_seconds)]

    assert (yielded, holds.held) == ([*"01245678"], [*"012345678"])


def test_next_images_are_held_while_others_are_read(holds: Holds) -> None:
    images = hold_ahead(holds.hold, BLOCKS, enough_seconds)

    assert [next(images).image_id, next(images).image_id] == ["0", "1"]
    assert holds.started.wait(TIMEOUT_SECONDS)
    holds.may_hold.set()
    assert next(images).image_id == "2"
    images.close()
    # While two images are read, no more than the next four are held.
    assert {*holds.held} <= {*"012345"}


def test_closing_waits_for_the_started_hold(holds: Holds) -> None:
    images = hold_ahead(holds.hold, BLOCKS, enough_seconds)
    next(images)
    assert holds.started.wait(TIMEOUT_SECONDS)
    threading.Timer(0.05, holds.may_hold.set).start()

    images.close()

    assert holds.held == [*"0123"]


def test_holding_ends_when_time_runs_out(holds: Holds) -> None:
    seconds = iter([1.0, 0.0])
    images = hold_ahead(holds.hold, BLOCKS, seconds.__next__)
    assert [next(images).image_id, next(images).image_id] == ["0", "1"]
    assert holds.started.wait(TIMEOUT_SECONDS)
    threading.Timer(0.05, holds.may_hold.set).start()

    with pytest.raises(OutOfTimeError):
        next(images)
    # The hold that had started has ended, so that its images can be released.
    assert holds.held[:4] == [*"0123"]


def test_failed_hold_is_raised() -> None:
    def fail(_: Sequence[Image]) -> list[Image]:
        raise KeyError

    with pytest.raises(KeyError):
        list(hold_ahead(fail, BLOCKS, enough_seconds))


def test_largest_image_fits_into_a_nova_request() -> None:
    assert 24_000_000 < len(manifest_line(IMAGE, Content(bytes(MAX_IMAGE_BYTES), "etag"))) < 25_000_000


def answers_that_break_off(error: Exception, times: int) -> Callable[[str], dict[str, Any]]:
    """Return answers with a body that breaks off `times` times and is complete afterwards.

    The ETag is the number of the answer, as if the upload changed each time.
    """
    left = [error] * times
    number = itertools.count(1)

    def content() -> bytes:
        if left:
            raise left.pop()
        return b"content"

    return lambda _: {"ContentLength": 7, "ETag": f"{next(number)}", "Body": Body(content)}


BREAK_ERRORS = [
    ReadTimeoutError(endpoint_url="https://s3"),
    ResponseStreamingError(error=ValueError()),
    IncompleteReadError(actual_bytes=3, expected_bytes=7),
    FlexibleChecksumError(error_msg="another checksum"),
    urllib3.exceptions.SSLError("decryption failed"),
]


@pytest.mark.parametrize("error", BREAK_ERRORS, ids=lambda error: type(error).__name__)
def test_reader_repeats_a_read_that_breaks_off(error: Exception) -> None:
    bucket = Bucket(answers_that_break_off(error, times=2))
    reader = ImageReader(cast("S3Client", bucket), "images")

    assert list(reader.read([IMAGE], enough_seconds)) == [(IMAGE, Content(b"content", "3"))]
    assert bucket.requested == [IMAGE.key] * 3


@pytest.mark.parametrize("error", BREAK_ERRORS, ids=lambda error: type(error).__name__)
def test_reader_raises_after_three_broken_reads(error: Exception) -> None:
    bucket = Bucket(answers_that_break_off(error, times=3))

    with pytest.raises(type(error)):
        list(ImageReader(cast("S3Client", bucket), "images").read([IMAGE], enough_seconds))

    assert bucket.requested == [IMAGE.key] * 3


class _Server(BaseHTTPRequestHandler):
    """A server that closes the connection within the image for the first `breaks` requests."""

    protocol_version = "HTTP/1.1"
    breaks = 0
    requested = 0

    def do_GET(self) -> None:
        """Answer with the image."""
        type(self).requested += 1
        breaks = self.requested <= self.breaks
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.send_header("ETag", '"e"')
        self.end_headers()
        self.wfile.write(b"con" if breaks else b"content")
        self.close_connection = breaks

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Suppress the log."""


@contextmanager
def _reader_of_server(breaks: int) -> "Generator[ImageReader]":
    """Start a server on loopback, and return a reader with a client that does not retry calls."""
    _Server.breaks, _Server.requested = breaks, 0
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


def test_reader_repeats_a_read_after_connection_breaks() -> None:
    with _reader_of_server(breaks=2) as reader:
        assert list(reader.read([IMAGE], enough_seconds)) == [(IMAGE, Content(b"content", '"e"'))]

    assert _Server.requested == 3


def test_reader_raises_after_three_broken_connections() -> None:
    with _reader_of_server(breaks=3) as reader, pytest.raises(ResponseStreamingError):
        list(reader.read([IMAGE], enough_seconds))

    assert _Server.requested == 3
