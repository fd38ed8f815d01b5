"""The handler's part of AWS, inside the process: S3 and DynamoDB in memory, behind botocore's `before-send`.

A client's own work stays real: requests are built, signed, sent again after a failure, and their answers parsed. Only
what would go over the wire is answered here, so that every single attempt can be made to fail, and a whole night takes
milliseconds. Whatever the handler does not call is refused by name.

Sources: Amazon S3 API reference; Amazon DynamoDB API reference; botocore's `before-send` event.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from .wire import S3Request, body_of, json_response, response, s3_error, s3_request, xml_response

if TYPE_CHECKING:
    import boto3

S3_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
MAX_WRITES = 25
MAX_READS = 100
MAX_DELETES = 1000

PARTIAL_FAULTS = {"unprocessed", "refused", "cut", "stale"}
"""Those that take nothing away from an operation but some of what it does."""

Item = dict[str, Any]
"""An item as it is on the wire: attribute name to typed value."""


class FunctionDiedError(BaseException):
    """The execution environment is gone: not an error that any handler could catch as such."""


@dataclass(frozen=True)
class Call:
    """One attempt of a request: its operation, and the object key or the table that it is about."""

    operation: str
    resource: str


@dataclass(frozen=True)
class Fault:
    """What becomes of an attempt, instead of its answer.

    `kind`: `die` (the function is gone), `reset` (the connection is), `timeout`, `error` (an answer with `code` and
    `status`), `unprocessed` (a batch of DynamoDB, half of it handed back), `refused` (DeleteObjects, half of it kept),
    `cut` (GetObject, whose body breaks off in the middle), `stale` (Query, of an index that lags one write behind).
    `after`: when the request has taken effect.
    """

    kind: str
    after: bool = False
    code: str = ""
    status: int = 500


@dataclass(frozen=True)
class StoredObject:
    """An object of the bucket."""

    body: bytes
    modified: datetime

    @property
    def etag(self) -> str:
        """The ETag of an object that was put in one piece."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


@dataclass
class Table:
    """A table: the names of its key attributes, and its items by the values of their keys."""

    keys: tuple[str, ...]
    items: dict[tuple[str, ...], Item] = field(default_factory=dict[tuple[str, ...], Item])
    earlier: dict[tuple[str, ...], Item] = field(default_factory=dict[tuple[str, ...], Item])
    """Each item as it was before it was last written, which an index may still show."""

    def key_of(self, item: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the values of an item's key attributes, which are strings."""
        return tuple(item[name]["S"] for name in self.keys)

    def put(self, item: Item) -> None:
        """Store an item in place of the one with its key."""
        key = self.key_of(item)
        if key in self.items:
            self.earlier[key] = self.items[key]
        self.items[key] = item

    def clear(self) -> None:
        """Forget every item."""
        self.items.clear()
        self.earlier.clear()


@dataclass
class InMemoryAws:
    """One bucket and some tables, and what becomes of each call to them.

    `fault` is asked at every attempt; `changed` is called whenever something was written or deleted.
    """

    tables: dict[str, Table]
    objects: dict[str, StoredObject] = field(default_factory=dict[str, StoredObject])
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    fault: Callable[[Call], Fault | None] = lambda _: None
    changed: Callable[[], None] = lambda: None
    calls: Counter[str] = field(default_factory=Counter[str])
    _uploads: dict[str, dict[int, bytes]] = field(default_factory=dict[str, dict[int, bytes]])

    def serve(self, session: "boto3.Session") -> None:
        """Answer the calls of the session's clients from now on."""
        # The stubs have handlers return nothing; botocore takes what they return for the answer.
        session.events.register("before-send.s3", cast("Callable[..., None]", self._answer_s3))
        session.events.register("before-send.dynamodb", cast("Callable[..., None]", self._answer_dynamodb))

    def put_object(self, key: str, body: bytes) -> None:
        """Put an object."""
        self.objects[key] = StoredObject(body, self.now())

    # DynamoDB

    def _answer_dynamodb(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        asked: dict[str, Any] = json.loads(body_of(request))
        table = asked.get("TableName") or next(iter(asked["RequestItems"]))
        acts = {
            "Query": self._query,
            "BatchGetItem": self._batch_get,
            "BatchWriteItem": self._batch_write,
            "UpdateItem": self._update,
        }
        act = acts[operation]
        return self._outcome(
            Call(operation, table),
            lambda fault: json_response(*act(asked, fault)),
            lambda fault: json_response(fault.status, {"__type": f"com.amazonaws.dynamodb.v20120810#{fault.code}"}),
        )

    def _query(self, asked: dict[str, Any], fault: Fault | None) -> tuple[int, dict[str, Any]]:
        name, value = asked["KeyConditionExpression"].split(" = ")
        wanted = asked["ExpressionAttributeValues"][value]
        table = self.tables[asked["TableName"]]
        shown = {**table.items, **table.earlier} if fault else table.items
        items = [item for item in shown.values() if item.get(name) == wanted]
        return 200, {"Items": items[: asked["Limit"]], "Count": len(items)}

    def _batch_get(self, asked: dict[str, Any], fault: Fault | None) -> tuple[int, dict[str, Any]]:
        [(name, request)] = asked["RequestItems"].items()
        keys = request["Keys"]
        table = self.tables[name]
        if refused := _batch_refusal([table.key_of(key) for key in keys], MAX_READS):
            return refused
        done, left = _halves(keys, fault)
        found = [table.items[table.key_of(key)] for key in done if table.key_of(key) in table.items]
        return 200, {"Responses": {name: found}, "UnprocessedKeys": {name: {**request, "Keys": left}} if left else {}}

    def _batch_write(self, asked: dict[str, Any], fault: Fault | None) -> tuple[int, dict[str, Any]]:
        [(name, requests)] = asked["RequestItems"].items()
        table = self.tables[name]
        if refused := _batch_refusal([table.key_of(r["PutRequest"]["Item"]) for r in requests], MAX_WRITES):
            return refused
        done, left = _halves(requests, fault)
        for put in done:
            table.put(put["PutRequest"]["Item"])
            self.changed()
        return 200, {"UnprocessedItems": {name: left} if left else {}}

    def _update(self, asked: dict[str, Any], _: Fault | None) -> tuple[int, dict[str, Any]]:
        table = self.tables[asked["TableName"]]
        key = table.key_of(asked["Key"])
        item = table.items.get(key, {})
        names: dict[str, str] = asked.get("ExpressionAttributeNames", {})
        values: dict[str, Any] = asked["ExpressionAttributeValues"]
        if not all(_holds(clause, item, names, values) for clause in asked["ConditionExpression"].split(" AND ")):
            failed = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "no"}
            shown = item and asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            return 400, {**failed, "Item": item} if shown else failed
        updated = dict(item)
        sets, _, removes = asked["UpdateExpression"].partition("REMOVE ")
        for assignment in re.finditer(r"(#?\w+) = (:\w+)", sets):
            name, value = str(assignment[1]), str(assignment[2])
            updated[names.get(name, name)] = values[value]
        for name in filter(None, removes.split(", ")):
            updated.pop(name, None)
        table.put(updated)
        self.changed()
        return 200, {"Attributes": updated} if asked.get("ReturnValues") == "ALL_NEW" else {}

    # S3

    def _answer_s3(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        asked = s3_request(request)
        acts = {
            "GetObject": self._get,
            "PutObject": self._put,
            "CopyObject": self._copy,
            "DeleteObjects": self._delete,
            "CreateMultipartUpload": self._begin_upload,
            "UploadPart": self._upload_part,
            "CompleteMultipartUpload": self._end_upload,
        }
        act = acts[asked.operation]
        return self._outcome(
            Call(asked.operation, asked.key),
            lambda fault: act(asked, fault),
            lambda fault: s3_error(fault.status, fault.code),
        )

    def _get(self, asked: S3Request, fault: Fault | None) -> AWSResponse:
        stored = self.objects.get(asked.key)
        if stored is None:
            return s3_error(404, "NoSuchKey")
        headers = {
            "ETag": f'"{stored.etag}"',
            "Last-Modified": format_datetime(stored.modified.astimezone(UTC), usegmt=True),
            "Content-Length": str(len(stored.body)),
        }
        return response(200, headers, stored.body[: len(stored.body) // 2] if fault else stored.body)

    def _put(self, asked: S3Request, _: Fault | None) -> AWSResponse:
        self.put_object(asked.key, asked.body)
        self.changed()
        return response(200, {"ETag": f'"{self.objects[asked.key].etag}"'}, b"")

    def _copy(self, asked: S3Request, _: Fault | None) -> AWSResponse:
        stored = self.objects.get(asked.copy_source)
        if stored is None:
            return s3_error(404, "NoSuchKey")
        self.put_object(asked.key, stored.body)
        self.changed()
        return xml_response(200, f"<CopyObjectResult><ETag>&quot;{stored.etag}&quot;</ETag></CopyObjectResult>")

    def _delete(self, asked: S3Request, fault: Fault | None) -> AWSResponse:
        # What is parsed here was written by botocore, in this process.
        tree = ET.fromstring(asked.body)  # noqa: S314
        keys = [element.text or "" for element in tree.iter(f"{S3_NAMESPACE}Key")]
        if len(keys) > MAX_DELETES:
            return s3_error(400, "MalformedXML")
        done, kept = _halves(keys, fault)
        for key in done:
            self.objects.pop(key, None)
            self.changed()
        errors = "".join(f"<Error><Key>{escape(key)}</Key><Code>InternalError</Code></Error>" for key in kept)
        return xml_response(200, f"<DeleteResult>{errors}</DeleteResult>")

    def _begin_upload(self, asked: S3Request, _: Fault | None) -> AWSResponse:
        upload_id = f"upload-{len(self._uploads)}"
        self._uploads[upload_id] = {}
        result = f"<Key>{escape(asked.key)}</Key><UploadId>{upload_id}</UploadId>"
        return xml_response(200, f"<InitiateMultipartUploadResult>{result}</InitiateMultipartUploadResult>")

    def _upload_part(self, asked: S3Request, _: Fault | None) -> AWSResponse:
        self._uploads[asked.query["uploadId"]][int(asked.query["partNumber"])] = asked.body
        return response(200, {"ETag": f'"{StoredObject(asked.body, self.now()).etag}"'}, b"")

    def _end_upload(self, asked: S3Request, _: Fault | None) -> AWSResponse:
        parts = self._uploads[asked.query["uploadId"]]
        self.put_object(asked.key, b"".join(parts[number] for number in sorted(parts)))
        self.changed()
        return xml_response(200, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    def _outcome(
        self, call: Call, act: Callable[[Fault | None], AWSResponse], fail: Callable[[Fault], AWSResponse]
    ) -> AWSResponse:
        """Let a call take effect, or not, and return its answer, or what becomes of it instead."""
        self.calls[call.operation] += 1
        fault = self.fault(call)
        if fault is None or fault.kind in PARTIAL_FAULTS:
            return act(fault)
        if fault.after:
            act(None)
        match fault.kind:
            case "die":
                raise FunctionDiedError(call.operation)
            case "reset":
                raise ConnectionClosedError(endpoint_url="in memory")
            case "timeout":
                raise ReadTimeoutError(endpoint_url="in memory")
            case _:
                return fail(fault)


def _halves(entries: list[Any], fault: Fault | None) -> tuple[list[Any], list[Any]]:
    """Return what is done of a batch and what is left; half of it, but at least one entry, under a fault."""
    done = len(entries) // 2 if fault else len(entries)
    return entries[:done], entries[done:]


def _batch_refusal(keys: list[tuple[str, ...]], limit: int) -> tuple[int, dict[str, Any]] | None:
    if len(keys) <= limit and len(set(keys)) == len(keys):
        return None
    return 400, {"__type": "com.amazon.coral.validate#ValidationException", "message": "too many items, or duplicates"}


def _holds(clause: str, item: Item, names: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    """Tell whether one clause of a condition holds; in parentheses, whether one of several does."""
    if clause.startswith("("):
        return any(_holds(choice, item, names, values) for choice in clause[1:-1].split(" OR "))
    if exists := re.fullmatch(r"attribute_(not_)?exists\((\w+)\)", clause):
        return (exists[2] in item) is not bool(exists[1])
    if compared := re.fullmatch(r"(#?\w+) (=|<>) (:\w+)", clause):
        name, operator, value = compared.groups()
        return (item.get(names.get(name, name)) == values[value]) is (operator == "=")
    if limited := re.fullmatch(r"(\w+) < (:\w+)", clause):
        name, value = limited.groups()
        return name in item and Decimal(item[name]["N"]) < Decimal(values[value]["N"])
    raise NotImplementedError(f"the condition {clause!r} is not known in memory")
