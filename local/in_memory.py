"""S3, DynamoDB and Bedrock's creation of jobs in memory, behind botocore's `before-send` event.

The clients do their real work: they build and sign requests, retry them, and parse responses. Only the transport is
replaced. So each attempt of a call can fail or be delayed, and a complete job takes milliseconds. Operations that
neither the functions nor the benchmark use raise NotImplementedError or KeyError.

Sources: Amazon S3 API reference; Amazon DynamoDB API reference; botocore's `before-send` event.
"""

import hashlib
import io
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pydantic_core
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from yorutsuke_common.names import IMAGE_STATUS_INDEX

from .partiql import Insert, parse_statement
from .wire import (
    Body,
    S3Request,
    body_of,
    header,
    json_error,
    json_response,
    response,
    s3_error,
    s3_request,
    xml_response,
)

if TYPE_CHECKING:
    import boto3

MAX_WRITES = 25
MAX_READS = 100
MAX_DELETES = 1000
MAX_LISTED = 1000
IMAGE_STATUS_ATTRIBUTES = ("imageId", "status", "uploadedAt", "intentId")
"""The attributes that the index of images by status projects."""
JOB_ARN = "arn:aws:bedrock:ap-northeast-1:123456789012:model-invocation-job"

COPIED = xml_response(200, "<CopyObjectResult></CopyObjectResult>")
"""The response to every copy. A benchmark makes 50,000 of them, and must not measure their responses."""
_ = COPIED.content
PARTIAL_FAULTS = {"unprocessed", "refused", "cut", "stale"}
"""The kinds of faults in which an operation succeeds in part."""

Item = dict[str, Any]
"""An item on the wire: attribute name to typed value."""
Parameters = dict[str, Any]
"""The JSON object of a request."""


class FunctionDiedError(BaseException):
    """The execution environment ended. Handlers of Exception do not catch it."""


@dataclass(frozen=True)
class Call:
    """One attempt of a call: its operation, and the object key, table or token that it names."""

    operation: str
    resource: str


@dataclass(frozen=True)
class Fault:
    """The failure of one attempt.

    `after`: the failure follows the request's effect. `kind` is one of these:

    - `die`: the function ends
    - `reset`: the connection breaks
    - `timeout`: the response does not arrive in time
    - `error`: the response has `code` and `status`
    - `unprocessed`: DynamoDB throttles half of the statements, or returns half of the keys as unprocessed
    - `refused`: DeleteObjects keeps half of the objects
    - `cut`: the body of a GetObject ends in the middle
    - `stale`: a Query reads an index that lags one write behind
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
        """The ETag of an object that was put in one piece, without its quotes."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()

    def has(self, etag: str) -> bool:
        """Return whether a condition on this ETag, which may be quoted or empty, holds."""
        return etag.strip('"') in ("", self.etag)

    @property
    def size(self) -> int:
        """The length of the content, in bytes."""
        return len(self.body)

    def open(self) -> io.BufferedIOBase:
        """Return the content as a response's body."""
        return Body(self.body)


@dataclass
class Table:
    """A table: the names of its key attributes, and its items by the values of their keys."""

    keys: tuple[str, ...]
    items: dict[tuple[str, ...], Item] = field(default_factory=dict[tuple[str, ...], Item])
    earlier: dict[tuple[str, ...], Item] = field(default_factory=dict[tuple[str, ...], Item])
    """Each item before its last write, as a lagging index may still return it."""
    partitions: tuple[str, ...] = ()
    """The attributes that are partition keys of the table, or of its indexes with all attributes."""
    index_keys: tuple[str, ...] = ()
    """The attributes that are partition keys of its other indexes. An update that changes the key deletes one entry and
    writes another. An update that keeps the key writes none.

    Source: Amazon DynamoDB developer guide, "Using Global Secondary Indexes in DynamoDB".
    """
    units_per_second: float | None = None
    """Write units that each partition takes in a second, or None for no limit. It saves up those of one second."""
    clock: Callable[[], float] = time.monotonic
    """The time that refills the partitions, in seconds."""
    buckets: dict[tuple[str, str], list[float]] = field(default_factory=dict[tuple[str, str], list[float]])
    """The units that each partition still takes, and the time at which this was so, by attribute and value."""

    def key_of(self, item: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the values of an item's key attributes, which are strings."""
        return tuple([item[name]["S"] for name in self.keys])

    def get(self, key: Item, /) -> Item | None:
        """Return the item with this key, or None."""
        return self.items.get(self.key_of(key))

    def delete(self, key: Item, /) -> None:
        """Delete the item with this key if it exists."""
        self.items.pop(self.key_of(key), None)

    def accepts(self, item: Item, current: Item | None, /) -> bool:
        """Return whether the partitions of an item take its write now, or throttle it. `current` is the stored item."""
        if self.units_per_second is None:
            return True
        now, units, earlier = self.clock(), _write_units(item), current or {}
        written = {(name, item[name]["S"]) for name in self.partitions if name in item}
        for name in self.index_keys:
            if item.get(name) != earlier.get(name):
                written |= {(name, each[name]["S"]) for each in (earlier, item) if name in each}
        buckets = [self.buckets.setdefault(each, [self.units_per_second, now]) for each in written]
        for bucket in buckets:
            bucket[:] = [min(self.units_per_second, bucket[0] + (now - bucket[1]) * self.units_per_second), now]
        if any(bucket[0] < units for bucket in buckets):
            return False
        for bucket in buckets:
            bucket[0] -= units
        return True

    def put(self, item: Item, /) -> None:
        """Store an item, and replace the one with its key."""
        key = self.key_of(item)
        if key in self.items:
            self.earlier[key] = self.items[key]
        self.items[key] = item


@dataclass
class InMemoryAws:
    """One bucket and some tables.

    `fault` decides about each attempt. `changed` is called after each write or deletion. `latencies` are the seconds
    that an operation waits before it responds. Operations run one at a time; their waits overlap.
    """

    tables: dict[str, Table]
    objects: dict[str, StoredObject] = field(default_factory=dict[str, StoredObject])
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    fault: Callable[[Call], Fault | None] = lambda _: None
    changed: Callable[[], None] = lambda: None
    latencies: Mapping[str, float] = field(default_factory=dict[str, float])
    calls: Counter[str] = field(default_factory=Counter[str])
    jobs: dict[str, str] = field(default_factory=dict[str, str])
    """The S3 URI of the manifest of each job that Bedrock has created, by job id."""
    _parts: dict[str, dict[int, bytes]] = field(default_factory=dict[str, dict[int, bytes]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, session: "boto3.Session") -> None:
        """Answer the calls of the session's clients from now on."""
        answers = {"s3": self._answer_s3, "dynamodb": self._answer_dynamodb, "bedrock": self._answer_bedrock}
        for service, answer in answers.items():
            # The stubs declare handlers without a result; botocore takes a handler's result as the response.
            session.events.register(f"before-send.{service}", cast("Callable[..., None]", answer))

    # Storage

    def find_object(self, key: str, /) -> StoredObject | None:
        """Return an object, or None."""
        return self.objects.get(key)

    def keys_after(self, prefix: str, start: str, /) -> Iterator[str]:
        """Yield the keys with this prefix that sort after `start`, in order."""
        yield from sorted(key for key in self.objects if key.startswith(prefix) and key > start)

    def put_object(self, key: str, body: bytes, /) -> None:
        """Store an object."""
        self.objects[key] = StoredObject(body, self.now())

    def delete_object(self, key: str, /) -> None:
        """Delete an object if it exists."""
        self.objects.pop(key, None)

    def put_part(self, upload_id: str, number: int, body: bytes, /) -> str:
        """Store a part of an upload, and return its ETag."""
        self._parts.setdefault(upload_id, {})[number] = body
        return StoredObject(body, self.now()).etag

    # DynamoDB

    def _answer_dynamodb(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        operation = header(request, "X-Amz-Target").rpartition(".")[2]
        parameters: Parameters = pydantic_core.from_json(body_of(request))
        name = _table_name(parameters)
        act = {
            "Query": self._query,
            "GetItem": self._get_item,
            "PutItem": self._put_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
            "BatchGetItem": self._batch_get_items,
            "BatchWriteItem": self._batch_write_items,
            "BatchExecuteStatement": self._batch_execute_statements,
        }[operation]
        table = self.tables[name]
        return self._respond(Call(operation, name), lambda fault: act(table, parameters, fault), json_error)

    def _query(self, table: Table, parameters: Parameters, fault: Fault | None) -> AWSResponse:
        name, value = parameters["KeyConditionExpression"].split(" = ")
        name = parameters.get("ExpressionAttributeNames", {}).get(name, name)
        expected = parameters["ExpressionAttributeValues"][value]
        shown = {**table.items, **table.earlier} if fault else table.items
        items = [item for item in shown.values() if item.get(name) == expected]
        if parameters["IndexName"] == IMAGE_STATUS_INDEX:
            # An item without the sort key is not in the index.
            items = sorted((item for item in items if "uploadedAt" in item), key=lambda item: item["uploadedAt"]["S"])
            items = [{each: item[each] for each in IMAGE_STATUS_ATTRIBUTES if each in item} for item in items]
        return json_response(200, {"Items": items[: parameters.get("Limit")], "Count": len(items)})

    def _get_item(self, table: Table, parameters: Parameters, _: Fault | None) -> AWSResponse:
        item = table.get(parameters["Key"])
        return json_response(200, {"Item": item} if item else {})

    def _put_item(self, table: Table, parameters: Parameters, _: Fault | None) -> AWSResponse:
        if refusal := _refusal(parameters, table.get(parameters["Item"])):
            return refusal
        table.put(parameters["Item"])
        self.changed()
        return json_response(200, {})

    def _update_item(self, table: Table, parameters: Parameters, _: Fault | None) -> AWSResponse:
        item = table.get(parameters["Key"])
        if refusal := _refusal(parameters, item):
            return refusal
        names: dict[str, str] = parameters.get("ExpressionAttributeNames", {})
        updated = {**parameters["Key"], **(item or {})}
        sets, _, removes = parameters["UpdateExpression"].partition("REMOVE ")
        for assignment in re.finditer(r"(#?\w+) = (:\w+)", sets):
            name, value = str(assignment[1]), str(assignment[2])
            updated[names.get(name, name)] = parameters["ExpressionAttributeValues"][value]
        for name in filter(None, removes.split(", ")):
            updated.pop(name, None)
        table.put(updated)
        self.changed()
        return json_response(200, {"Attributes": updated} if parameters.get("ReturnValues") == "ALL_NEW" else {})

    def _delete_item(self, table: Table, parameters: Parameters, _: Fault | None) -> AWSResponse:
        if refusal := _refusal(parameters, table.get(parameters["Key"])):
            return refusal
        table.delete(parameters["Key"])
        self.changed()
        return json_response(200, {})

    def _batch_get_items(self, table: Table, parameters: Parameters, fault: Fault | None) -> AWSResponse:
        [(name, request)] = parameters["RequestItems"].items()
        keys = request["Keys"]
        if refusal := _batch_refusal([table.key_of(key) for key in keys], MAX_READS):
            return refusal
        done, left = _halves(keys, fault)
        found = [item for key in done if (item := table.get(key))]
        unprocessed = {name: {**request, "Keys": left}} if left else {}
        return json_response(200, {"Responses": {name: found}, "UnprocessedKeys": unprocessed})

    def _batch_write_items(self, table: Table, parameters: Parameters, fault: Fault | None) -> AWSResponse:
        [(name, requests)] = parameters["RequestItems"].items()
        if refusal := _batch_refusal([table.key_of(request["PutRequest"]["Item"]) for request in requests], MAX_WRITES):
            return refusal
        done, left = _halves(requests, fault)
        for request in done:
            table.put(request["PutRequest"]["Item"])
            self.changed()
        return json_response(200, {"UnprocessedItems": {name: left} if left else {}})

    def _batch_execute_statements(self, table: Table, parameters: Parameters, fault: Fault | None) -> AWSResponse:
        requests = parameters["Statements"]
        if len(requests) > MAX_WRITES:
            return json_error(400, "ValidationException")
        done, throttled = _halves(requests, fault)
        responses = [self._execute_statement(table, request) for request in done]
        responses += [_statement_error("ProvisionedThroughputExceeded")] * len(throttled)
        return json_response(200, {"Responses": responses})

    def _execute_statement(self, table: Table, request: Parameters) -> dict[str, Any]:
        statement = parse_statement(request)
        if isinstance(statement, Insert):
            item, current = statement.item, table.get(statement.item)
            refusal = "DuplicateItem" if current else None
        else:
            current = table.get(statement.where)
            refusal = None if current and statement.holds(current) else "ConditionalCheckFailed"
            item = {**(current or statement.where), **statement.changes}
        if not table.accepts(item, current):
            return _statement_error("ProvisionedThroughputExceeded")
        if refusal:
            return _statement_error(refusal)
        table.put(item)
        self.changed()
        return {"TableName": statement.table}

    # S3

    def _answer_s3(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        parsed = s3_request(request)
        act = {
            "GetObject": self._get_object,
            "ListObjectsV2": self._list_objects,
            "HeadObject": self._head_object,
            "PutObject": self._put_object,
            "CopyObject": self._copy_object,
            "DeleteObject": self._delete_object,
            "DeleteObjects": self._delete_objects,
            "CreateMultipartUpload": self._create_upload,
            "UploadPart": self._upload_part,
            "CompleteMultipartUpload": self._complete_upload,
        }[parsed.operation]
        return self._respond(Call(parsed.operation, parsed.key), lambda fault: act(parsed, fault), s3_error)

    def _get_object(self, request: S3Request, fault: Fault | None) -> AWSResponse:
        stored = self.find_object(request.key)
        if stored is None:
            return s3_error(404, "NoSuchKey")
        return response(200, _headers(stored), Body(stored.body[: stored.size // 2]) if fault else stored.open())

    def _list_objects(self, request: S3Request, _: Fault | None) -> AWSResponse:
        keys = self.keys_after(request.query.get("prefix", ""), request.query.get("start-after", ""))
        listed = list(islice(keys, MAX_LISTED))
        entries = [(key, stored) for key in listed if (stored := self.find_object(key))]
        contents = "".join(
            # The client asks for encoded keys, and decodes them.
            f"<Contents><Key>{quote(key)}</Key><ETag>&quot;{stored.etag}&quot;</ETag><Size>{stored.size}</Size></Contents>"
            for key, stored in entries
        )
        is_truncated = "true" if next(keys, None) else "false"
        result = f"<EncodingType>url</EncodingType><IsTruncated>{is_truncated}</IsTruncated>{contents}"
        return xml_response(200, f"<ListBucketResult>{result}</ListBucketResult>")

    def _head_object(self, request: S3Request, _: Fault | None) -> AWSResponse:
        stored = self.find_object(request.key)
        return response(404, {}, Body()) if stored is None else response(200, _headers(stored), Body())

    def _put_object(self, request: S3Request, _: Fault | None) -> AWSResponse:
        self.put_object(request.key, request.body)
        self.changed()
        return response(200, {"ETag": f'"{StoredObject(request.body, self.now()).etag}"'}, Body())

    def _copy_object(self, request: S3Request, _: Fault | None) -> AWSResponse:
        stored = self.find_object(request.copy_source)
        if stored is None:
            return s3_error(404, "NoSuchKey")
        if not stored.has(request.copy_etag):
            return s3_error(412, "PreconditionFailed")
        self.put_object(request.key, stored.body)
        self.changed()
        return COPIED

    def _delete_object(self, request: S3Request, _: Fault | None) -> AWSResponse:
        self.delete_object(request.key)
        self.changed()
        return response(204, {}, Body())

    def _delete_objects(self, request: S3Request, fault: Fault | None) -> AWSResponse:
        # botocore wrote the XML in this process.
        entries = ET.fromstring(request.body).findall(".//{*}Object")  # noqa: S314
        if len(entries) > MAX_DELETES:
            return s3_error(400, "MalformedXML")
        done, kept = _halves(entries, fault)
        codes = {_text(entry, "Key"): "InternalError" for entry in kept}
        for entry in done:
            key = _text(entry, "Key")
            stored = self.find_object(key)
            if stored and not stored.has(_text(entry, "ETag")):
                codes[key] = "PreconditionFailed"
            elif stored:
                self.delete_object(key)
                self.changed()
        errors = "".join(f"<Error><Key>{escape(key)}</Key><Code>{code}</Code></Error>" for key, code in codes.items())
        return xml_response(200, f"<DeleteResult>{errors}</DeleteResult>")

    def _create_upload(self, request: S3Request, _: Fault | None) -> AWSResponse:
        upload = f"<Key>{escape(request.key)}</Key><UploadId>upload-{self.calls['CreateMultipartUpload']}</UploadId>"
        return xml_response(200, f"<InitiateMultipartUploadResult>{upload}</InitiateMultipartUploadResult>")

    def _upload_part(self, request: S3Request, _: Fault | None) -> AWSResponse:
        etag = self.put_part(request.query["uploadId"], int(request.query["partNumber"]), request.body)
        return response(200, {"ETag": f'"{etag}"'}, Body())

    def _complete_upload(self, request: S3Request, _: Fault | None) -> AWSResponse:
        parts = self._parts.pop(request.query["uploadId"], {})
        self.put_object(request.key, b"".join(body for _, body in sorted(parts.items())))
        self.changed()
        return xml_response(200, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")

    # Bedrock

    def _answer_bedrock(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        parameters: Parameters = pydantic_core.from_json(body_of(request))
        call = Call("CreateModelInvocationJob", parameters["clientRequestToken"])
        return self._respond(call, lambda _: self._create_job(parameters), json_error)

    def _create_job(self, parameters: Parameters) -> AWSResponse:
        job_id = hashlib.sha256(parameters["clientRequestToken"].encode()).hexdigest()[:12]
        if job_id not in self.jobs:
            self.jobs[job_id] = parameters["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
            self.changed()
        return json_response(200, {"jobArn": f"{JOB_ARN}/{job_id}"})

    def _respond(
        self, call: Call, act: Callable[[Fault | None], AWSResponse], error: Callable[[int, str], AWSResponse]
    ) -> AWSResponse:
        """Return the response of an attempt, or fail according to its fault."""
        if seconds := self.latencies.get(call.operation):
            time.sleep(seconds)
        fault = self.fault(call)
        with self._lock:
            self.calls[call.operation] += 1
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
                return error(fault.status, fault.code)


def _table_name(parameters: Parameters) -> str:
    """Return the name of the table of a request."""
    if "Statements" in parameters:
        return parse_statement(parameters["Statements"][0]).table
    return parameters.get("TableName") or next(iter(parameters["RequestItems"]))


def _statement_error(code: str) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": code}}


def _headers(stored: StoredObject) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": format_datetime(stored.modified.astimezone(UTC), usegmt=True),
        "Content-Length": str(stored.size),
    }


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _refusal(parameters: Parameters, item: Item | None) -> AWSResponse | None:
    """Return the error of a conditional write if its condition does not hold, or None."""
    condition = parameters.get("ConditionExpression")
    names, values = parameters.get("ExpressionAttributeNames", {}), parameters.get("ExpressionAttributeValues", {})
    if condition is None or all(_holds(clause, item or {}, names, values) for clause in condition.split(" AND ")):
        return None
    returned = item and parameters.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return json_error(400, "ConditionalCheckFailedException", **({"Item": item} if returned else {}))


def _holds(clause: str, item: Item, names: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    """Return whether one clause of a condition holds; in parentheses, whether one of several does."""
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
    raise NotImplementedError(f"the condition {clause!r} is not implemented in memory")


def _write_units(item: Item) -> int:
    """Return the write units of an item: one for each KB of its names and values."""
    size = sum(len(name) + len(str(value)) for name, typed in item.items() for value in typed.values())
    return -(-size // 1024)


def _batch_refusal(keys: list[tuple[str, ...]], limit: int) -> AWSResponse | None:
    """Return the error of a batch that has too many keys, or a key twice."""
    if len(keys) <= limit and len(set(keys)) == len(keys):
        return None
    return json_error(400, "ValidationException")


def _halves(entries: list[Any], fault: Fault | None) -> tuple[list[Any], list[Any]]:
    """Return the entries of a batch that are processed, and those that are not: half of them under a fault."""
    done = len(entries) // 2 if fault else len(entries)
    return entries[:done], entries[done:]
