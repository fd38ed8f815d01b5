"""Copies thousands of objects within a bucket.

A boto3 client takes most of a millisecond of CPU per call: it evaluates endpoint rules, runs its event handlers and
parses an answer without useful content. For tens of thousands of copies that differ in two keys and an ETag, that is
more CPU than the rest of a job. So the client makes only the first copy, and botocore's `before-sign` event supplies
the request and its signer. Every other copy repeats that request with its own keys and ETag. If the response of such a
copy does not confirm success, the client makes the copy again, with the client's retries and errors. A copy is
idempotent.

Sources: Amazon S3 API reference, CopyObject (an answer with status 200 may hold an error); botocore's events
`before-sign` and `before-send`.
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

from yorutsuke_common.logger import error_fields
from yorutsuke_common.names import LogEvent

from .clients import CONNECT_SECONDS, READ_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.auth import BaseSigner
    from botocore.hooks import EventAliaser
    from botocore.signers import RequestSigner
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

UNESCAPED_CHARACTERS = "/-._~"
"""Characters of a key that are not percent-encoded, neither in the URL nor in the header."""
SUCCESS_ELEMENT = b"<CopyObjectResult"
TIMEOUT = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
"""Connect and read timeout in seconds, the same as the client's."""


@dataclass(frozen=True)
class _RequestTemplate:
    """The parts of the client's request that do not depend on the copied object. `path` is the path up to the key."""

    origin: str
    path: str
    user_agent: str
    signer: "Callable[[], BaseSigner]"
    connections: HTTPConnectionPool


class ObjectCopier:
    """Copies objects within one bucket, over a given number of connections.

    The client makes every copy if a proxy is configured, or if botocore's internals differ from those known here. They
    may differ after an upgrade of the layer's botocore.

    Without `tags`, the copies do not have the tags of their sources, and the copier needs no permission for tags.
    Source: AWS CLI command reference, `s3 cp` (`--copy-props`).
    """

    def __init__(self, s3: "S3Client", bucket: str, connections: int, logger: Logger, *, tags: bool = True) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._connections = connections
        self._logger = logger
        self._directive: dict[str, Any] = {} if tags else {"TaggingDirective": "REPLACE"}
        self._directive_header = {} if tags else {"x-amz-tagging-directive": "REPLACE"}
        self._first_copy = threading.Lock()
        self._first_copy_done = False
        self._template: _RequestTemplate | None = None
        # The stubs declare the base class of the client's event system.
        self._events = cast("EventAliaser", s3.meta.events)
        if not get_environ_proxies(s3.meta.endpoint_url):
            self._events.register("before-sign.s3.CopyObject", self._keep_template)

    def copy(self, source: str, target: str, etag: str) -> None:
        """Copy an object from one key to another, if its content has this ETag. Raises the client's errors."""
        if not self._first_copy_done:
            # The other threads wait for the template. Otherwise each of them would open a connection of the client.
            with self._first_copy:
                if not self._first_copy_done:
                    try:
                        self._copy_with_client(source, target, etag)
                    finally:
                        self._first_copy_done = True
                    return
        if not (self._template and self._copy_with_template(self._template, source, target, etag)):
            self._copy_with_client(source, target, etag)

    def _copy_with_client(self, source: str, target: str, etag: str) -> None:
        copy_source: CopySourceTypeDef = {"Bucket": self._bucket, "Key": source}
        self._s3.copy_object(
            Bucket=self._bucket, Key=target, CopySource=copy_source, CopySourceIfMatch=etag, **self._directive
        )

    def _keep_template(self, **event: Any) -> None:
        """Keep the request that the client is about to sign as a template."""
        try:
            self._template = self._template or self._read_template(event["request"], event["request_signer"], event)
        except Exception as exc:  # noqa: BLE001 - an error here would become one of the client's own call
            self._give_up(exc)

    def _read_template(
        self, request: AWSRequest, request_signer: "RequestSigner", event: dict[str, Any]
    ) -> _RequestTemplate:
        url = urlsplit(str(request.url))
        origin = f"{url.scheme}://{url.netloc}"
        signing = {name: event[name] for name in ("signing_name", "region_name", "signature_version")}
        # If S3 redirected the client to another Region, the request's context names it.
        if region := request.context.get("signing", {}).get("region"):
            signing["region_name"] = region
        return _RequestTemplate(
            origin=origin,
            # The bucket is in the host name or, at an endpoint such as an emulator's, the first part of the path.
            path="/" if url.netloc.startswith(f"{self._bucket}.") else f"/{self._bucket}/",
            user_agent=request.headers["User-Agent"],
            # Each request gets a new signer, because credentials are renewed in the meantime.
            signer=partial(request_signer.get_auth_instance, **signing),
            connections=connections_to(origin, self._connections),
        )

    def _copy_with_template(self, template: _RequestTemplate, source: str, target: str, etag: str) -> bool:
        """Copy an object and return whether the response confirms success."""
        headers = {
            "User-Agent": template.user_agent,
            "x-amz-copy-source": percent_encode(f"{self._bucket}/{source}", UNESCAPED_CHARACTERS),
            "x-amz-copy-source-if-match": etag,
            **self._directive_header,
        }
        path = template.path + percent_encode(target, UNESCAPED_CHARACTERS)
        try:
            add_recursion_detection_header({"headers": headers})
            request = AWSRequest("PUT", template.origin + path, headers)
            template.signer().add_auth(request)
            status, content = self._send(template, path, request.prepare())
        except (BotoCoreError, HTTPError):
            return False
        except Exception as exc:  # noqa: BLE001 - the client makes the copy instead
            self._give_up(exc)
            return False
        return status == HTTPStatus.OK and SUCCESS_ELEMENT in content

    def _send(self, template: _RequestTemplate, path: str, request: AWSPreparedRequest) -> tuple[int, bytes]:
        # The client emits this event too. Handlers that watch or answer its requests receive these as well.
        _, answer = self._events.emit_until_response("before-send.s3.CopyObject", request=request)
        if answer:
            response = cast("AWSResponse", answer)
            return response.status_code, response.content
        sent = template.connections.urlopen("PUT", path, headers=dict(request.headers.items()), redirect=False)
        return sent.status, sent.data

    def _give_up(self, exc: Exception) -> None:
        """Let the client make every further copy, and log a warning, because a job then takes twice as long."""
        self._events.unregister("before-sign.s3.CopyObject", self._keep_template)
        self._template = None
        self._logger.warning(
            "fast copies failed, so the client makes every copy",
            event=LogEvent.BATCH_RESULT_COPIER_GAVE_UP,
            **error_fields(exc),
        )


def connections_to(origin: str, number: int) -> HTTPConnectionPool:
    """Return a pool of connections to a scheme, host and port, which over TLS trusts the same authorities as botocore.

    The file of authorities is read once. urllib3, if given the file as botocore does it, reads it for each connection,
    which takes longer than dozens of copies.
    """
    if origin.startswith("http:"):
        return connection_from_url(origin, maxsize=number, timeout=TIMEOUT, retries=False)
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(verify=True)
    context = ssl.create_default_context(cafile=bundle)
    return connection_from_url(origin, maxsize=number, timeout=TIMEOUT, retries=False, ssl_context=context)
