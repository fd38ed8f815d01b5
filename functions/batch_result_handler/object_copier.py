"""Copies of objects within the bucket, by the thousand.

A client takes most of a millisecond of CPU for a call: it looks rules of endpoints up, lets plug-ins rewrite what was
asked, and parses an answer that says nothing. For tens of thousands of calls that differ in two keys, that is more than
all else a job takes. So the client makes the first copy, and shows in botocore's `before-sign` event what it sends, and
what signs it; every other copy is that request with its own keys. What does not plainly succeed is left to the client
after all, which knows when to try again and what an error means: a copy may be repeated.

Sources: Amazon S3 API reference, CopyObject (a 200 may hold an error); botocore's events `before-sign`, `before-send`.
"""

import os
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies, percent_encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.auth import BaseSigner
    from botocore.hooks import EventAliaser
    from botocore.signers import RequestSigner
    from mypy_boto3_s3 import S3Client

SAFE = "/-._~"
"""Characters of a key that stay as they are, in a URL and in a header."""
COPIED = b"<CopyObjectResult"


@dataclass(frozen=True)
class _Shown:
    """What the client's request has whatever its keys: the URL up to the key, its user agent, and what signs it."""

    url: str
    user_agent: str
    signer: "Callable[[], BaseSigner]"


class ObjectCopier:
    """Copies objects within one bucket, over as many connections as are given."""

    def __init__(self, s3: "S3Client", bucket: str, connections: int) -> None:
        self._s3 = s3
        self._bucket = bucket
        # The stubs have a flag only; botocore's clients hand over the path of a bundle as well, and this very one.
        verify = cast("bool", os.environ.get("AWS_CA_BUNDLE") or True)
        # The stubs have the base of what every client has.
        self._events = cast("EventAliaser", s3.meta.events)
        self._http = URLLib3Session(
            verify=verify,
            proxies=get_environ_proxies(s3.meta.endpoint_url),
            max_pool_connections=connections,
        )
        self._shown: _Shown | None = None
        self._events.register("before-sign.s3.CopyObject", self._show)

    def copy(self, source: str, target: str) -> None:
        """Copy the object of one key to another. Raises what the client raises."""
        if not (self._shown and self._copied(self._shown, source, target)):
            self._s3.copy_object(Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source})

    def _show(
        self,
        *,
        request: AWSRequest,
        request_signer: "RequestSigner",
        signing_name: str,
        region_name: str,
        signature_version: str,
        **_: object,
    ) -> None:
        """Keep what the client is about to sign, its keys aside."""
        url = urlsplit(str(request.url))
        # The bucket is in the host, or, at an endpoint such as an emulator's, the first part of the path.
        path = "/" if url.netloc.startswith(f"{self._bucket}.") else f"/{self._bucket}/"
        self._shown = _Shown(
            url=f"{url.scheme}://{url.netloc}{path}",
            user_agent=request.headers["User-Agent"],
            # Anew for each request: credentials are renewed in the meantime.
            signer=partial(request_signer.get_auth_instance, signing_name, region_name, signature_version),
        )

    def _copied(self, shown: _Shown, source: str, target: str) -> bool:
        """Copy an object, and tell whether that plainly succeeded."""
        headers = {
            "User-Agent": shown.user_agent,
            "x-amz-copy-source": percent_encode(f"{self._bucket}/{source}", SAFE),
        }
        request = AWSRequest("PUT", shown.url + percent_encode(target, SAFE), headers)
        shown.signer().add_auth(request)
        prepared = request.prepare()
        try:
            # As the client does, so that whoever watches its requests, or answers them, has these as well.
            _, answered = self._events.emit_until_response("before-send.s3.CopyObject", request=prepared)
            response = cast("AWSResponse", answered or self._http.send(prepared))
            content = response.content
        except HTTPClientError:
            return False
        return response.status_code == HTTPStatus.OK and COPIED in content
