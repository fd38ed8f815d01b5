"""Copies of objects within the bucket, by the thousand.

A client takes most of a millisecond of CPU for a call: it looks rules of endpoints up, lets plug-ins rewrite what was
asked, and parses an answer that says nothing. For tens of thousands of calls that differ in two keys, that is more than
all else a job takes. So the client makes the first copy, and shows in botocore's `before-sign` event what it sends, and
what signs it; every other copy is that request with its own keys. What does not plainly succeed is left to the client
after all, which knows when to try again and what an error means: a copy may be repeated.

Sources: Amazon S3 API reference, CopyObject (a 200 may hold an error); botocore's events `before-sign`, `before-send`.
"""

import os
import ssl
import threading
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from aws_lambda_powertools import Logger
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.exceptions import BotoCoreError
from botocore.handlers import add_recursion_detection_header
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies, percent_encode
from urllib3 import HTTPConnectionPool, Timeout, connection_from_url
from urllib3.exceptions import HTTPError

from yorutsuke_common.aws_error import described
from yorutsuke_common.logger import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.auth import BaseSigner
    from botocore.hooks import EventAliaser
    from botocore.signers import RequestSigner
    from mypy_boto3_s3 import S3Client

SAFE = "/-._~"
"""Characters of a key that stay as they are, in a URL and in a header."""
COPIED = b"<CopyObjectResult"
TIMEOUT = Timeout(connect=60, read=60)
"""Botocore's own, in seconds."""


@dataclass(frozen=True)
class _Shown:
    """What the client's request has whatever its keys: where it goes, the path up to the key, and what signs it."""

    origin: str
    path: str
    user_agent: str
    signer: "Callable[[], BaseSigner]"
    connections: HTTPConnectionPool


class ObjectCopier:
    """Copies objects within one bucket, over as many connections as are given.

    Where a proxy stands before AWS, every copy is the client's. So it is where botocore's parts turn out to be others
    than we know: they are the runtime's, and change with it.
    """

    def __init__(self, s3: "S3Client", bucket: str, connections: int, logger: Logger) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._connections = connections
        self._logger = logger
        self._beginning = threading.Lock()
        self._begun = False
        self._shown: _Shown | None = None
        # The stubs have the base of what every client has.
        self._events = cast("EventAliaser", s3.meta.events)
        if not get_environ_proxies(s3.meta.endpoint_url):
            self._events.register("before-sign.s3.CopyObject", self._show)

    def copy(self, source: str, target: str) -> None:
        """Copy the object of one key to another. Raises what the client raises."""
        if not self._begun:
            # The others wait for what it shows: each of them would have the client open a connection as well.
            with self._beginning:
                if not self._begun:
                    try:
                        self._copy_by_client(source, target)
                    finally:
                        self._begun = True
                    return
        if not (self._shown and self._copied(self._shown, source, target)):
            self._copy_by_client(source, target)

    def _copy_by_client(self, source: str, target: str) -> None:
        self._s3.copy_object(Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source})

    def _show(self, **event: Any) -> None:
        """Keep what the client is about to sign, its keys aside."""
        try:
            self._shown = self._shown or self._read(event["request"], event["request_signer"], event)
        except Exception as exc:  # noqa: BLE001 - it would be an error of the client's own call
            self._give_up(exc)

    def _read(self, request: AWSRequest, request_signer: "RequestSigner", event: dict[str, Any]) -> _Shown:
        url = urlsplit(str(request.url))
        origin = f"{url.scheme}://{url.netloc}"
        # The request's own, where S3 has sent the client on to another Region.
        signing = {name: event[name] for name in ("signing_name", "region_name", "signature_version")}
        if region := request.context.get("signing", {}).get("region"):
            signing["region_name"] = region
        return _Shown(
            origin=origin,
            # The bucket is in the host, or, at an endpoint such as an emulator's, the first part of the path.
            path="/" if url.netloc.startswith(f"{self._bucket}.") else f"/{self._bucket}/",
            user_agent=request.headers["User-Agent"],
            # Anew for each request: credentials are renewed in the meantime.
            signer=partial(request_signer.get_auth_instance, **signing),
            connections=connections_to(origin, self._connections),
        )

    def _copied(self, shown: _Shown, source: str, target: str) -> bool:
        """Copy an object, and tell whether that plainly succeeded."""
        headers = {
            "User-Agent": shown.user_agent,
            "x-amz-copy-source": percent_encode(f"{self._bucket}/{source}", SAFE),
        }
        path = shown.path + percent_encode(target, SAFE)
        try:
            add_recursion_detection_header({"headers": headers})
            request = AWSRequest("PUT", shown.origin + path, headers)
            shown.signer().add_auth(request)
            status, content = self._answer(shown, path, request.prepare())
        except (BotoCoreError, HTTPError):
            return False
        except Exception as exc:  # noqa: BLE001 - the client does it all the same
            self._give_up(exc)
            return False
        return status == HTTPStatus.OK and COPIED in content

    def _answer(self, shown: _Shown, path: str, request: AWSPreparedRequest) -> tuple[int, bytes]:
        # As the client does, so that whoever watches its requests, or answers them, has these as well.
        _, answered = self._events.emit_until_response("before-send.s3.CopyObject", request=request)
        if answered:
            response = cast("AWSResponse", answered)
            return response.status_code, response.content
        sent = shown.connections.urlopen("PUT", path, headers=dict(request.headers.items()), redirect=False)
        return sent.status, sent.data

    def _give_up(self, exc: Exception) -> None:
        """Leave every copy to the client from now on, and say so: a job takes twice as long then."""
        self._events.unregister("before-sign.s3.CopyObject", self._show)
        self._shown = None
        self._logger.warning("every copy is the client's", event=Event.BATCH_RESULT_COPIER_GAVE_UP, **described(exc))


def connections_to(origin: str, number: int) -> HTTPConnectionPool:
    """Return so many connections to one scheme, host and port, over TLS to whom botocore trusts as well."""
    if origin.startswith("http:"):
        return connection_from_url(origin, maxsize=number, timeout=TIMEOUT, retries=False)
    # Read once: given a file, as botocore gives it, urllib3 reads it for each connection, which takes longer than
    # dozens of copies.
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(verify=True)
    context = ssl.create_default_context(cafile=bundle)
    return connection_from_url(origin, maxsize=number, timeout=TIMEOUT, retries=False, ssl_context=context)
