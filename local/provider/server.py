"""The provider's server, to which Pulumi's engine connects.

`PULUMI_DEBUG_PROVIDERS=aws:PORT` makes the engine use a provider that is already running, so it downloads no plugin.

Sources: Pulumi documentation, "Debugging providers"; Pulumi's provider protocol (provider.proto).
"""

import json
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, cast

import grpc
from botocore.exceptions import BotoCoreError, ClientError
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc
from pulumi.runtime.proto.plugin_pb2 import PluginInfo

from local.aws import Aws
from local.deployer import answer_call, has_tags
from local.errors import LocalStageError
from local.inputs import Inputs, is_secret, plain
from local.resources import CREATORS

from .lifecycle import LIFECYCLES, GoneError, is_missing

PREVIEWED_ID = ""
"""The id of a resource in a preview, which means an unknown id."""

Operation = tuple[str, str]
"""The name of an operation, such as create, and the URN of its resource."""


def _ignore(_: Operation) -> None:
    """Observe nothing."""


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The provider `aws` over the clients of an emulator.

    `observe` is called before each operation that changes AWS, from several threads.
    """

    def __init__(self, aws: Aws, observe: Callable[[Operation], None] = _ignore) -> None:
        self._aws = aws
        self._observe = observe
        self._default_tags: dict[str, str] = {}
        # One change at a time keeps the emulator's log readable.
        self._lock = threading.Lock()

    def GetPluginInfo(self, request: Empty, context: grpc.ServicerContext) -> PluginInfo:
        """Return the version."""
        del request, context
        return PluginInfo(version=version("pulumi-aws"))

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Accept secrets, which the engine then encrypts in its state."""
        del request, context
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    def Attach(self, request: Any, context: grpc.ServicerContext) -> Empty:
        """Accept an engine, which connects after its start."""
        del request, context
        return Empty()

    def Cancel(self, request: Empty, context: grpc.ServicerContext) -> Empty:
        """Accept the end of an interrupted deployment. The engine waits for the operations that run."""
        del request, context
        return Empty()

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Accept the stage's `aws:` keys."""
        del context
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Report a change of the keys, which does not replace the provider."""
        del context
        changed = request.olds != request.news
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        )

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Check the credentials, as the provider does, and store the default tags."""
        try:
            self._aws.sts.get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"validating the credentials: {error}")
        default_tags = json.loads(request.variables.get("aws:config:defaultTags", "{}"))
        self._default_tags = default_tags.get("tags", {})
        return provider_pb2.ConfigureResponse(acceptSecrets=True)

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer a provider function."""
        try:
            answer = answer_call(self._aws, request.tok)
        except LocalStageError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return provider_pb2.InvokeResponse(**cast("dict[str, Any]", {"return": _struct(answer)}))

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Add the default tags to the inputs of a resource with tags. Refuse an unknown resource type."""
        resource_type = _resource_type(request.urn)
        if resource_type not in CREATORS:
            context.abort(grpc.StatusCode.NOT_FOUND, f"the stand-in for the AWS provider does not have {resource_type}")
        inputs = Struct()
        inputs.CopyFrom(request.news)
        if has_tags(resource_type):
            own = MessageToDict(request.news).get("tags", {})
            inputs.update({"tags": {**self._default_tags, **own}})
        return provider_pb2.CheckResponse(inputs=inputs)

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Compare the inputs. A replaced resource with a fixed name is deleted first, as the provider does it."""
        del context
        old, new = MessageToDict(request.old_inputs), MessageToDict(request.news)
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        lifecycle = LIFECYCLES[_resource_type(request.urn)]
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            replaces=sorted(lifecycle.replaced_by.intersection(changed)),
            deleteBeforeReplace="name" in new and "name" not in changed,
        )

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Create a resource. In a preview, return its inputs only, so that all other outputs are unknown."""
        if request.preview:
            return provider_pb2.CreateResponse(id=PREVIEWED_ID, properties=request.properties)
        with self._changing(("create", request.urn), context):
            inputs = _inputs(request.urn, request.properties)
            identifier, outputs = CREATORS[_resource_type(request.urn)](self._aws, inputs)
            inputs.require_all_taken()
            return provider_pb2.CreateResponse(id=identifier, properties=_merged(request.properties, outputs))

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Change a resource. Its outputs other than its inputs remain."""
        properties = _merged(request.olds, request.news)
        for key in MessageToDict(request.old_inputs).keys() - MessageToDict(request.news).keys():
            del properties[key]
        if not request.preview:
            with self._changing(("update", request.urn), context):
                inputs, resource_type = _inputs(request.urn, request.news), _resource_type(request.urn)
                if update := LIFECYCLES[resource_type].update:
                    update(self._aws, request.id, inputs)
                else:
                    CREATORS[resource_type](self._aws, inputs)
                inputs.require_all_taken()
        return provider_pb2.UpdateResponse(properties=properties)

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Empty:
        """Delete a resource. One that does not exist counts as deleted."""
        with self._changing(("delete", request.urn), context):
            inputs = plain(MessageToDict(request.properties))
            try:
                LIFECYCLES[_resource_type(request.urn)].delete(self._aws, request.id, inputs)
            except ClientError as error:
                if not is_missing(error):
                    raise
        return Empty()

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return a resource as it is in AWS, for a refresh or an import. Return an empty id if it does not exist."""
        try:
            current = LIFECYCLES[_resource_type(request.urn)].read(self._aws, request.id)
        except GoneError:
            return provider_pb2.ReadResponse()
        except ClientError as error:
            if is_missing(error):
                return provider_pb2.ReadResponse()
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        known, outputs = MessageToDict(request.inputs), LIFECYCLES[_resource_type(request.urn)].outputs
        changes = {key: value for key, value in current.items() if not _is_same(known.get(key), value)}
        inputs = _merged(request.inputs, changes)
        properties = _merged(_merged(request.properties, inputs), outputs(self._aws, request.id) if outputs else {})
        return provider_pb2.ReadResponse(id=request.id, inputs=inputs, properties=properties)

    @contextmanager
    def _changing(self, operation: Operation, context: grpc.ServicerContext) -> Generator[None]:
        """Make one change at a time, and report its error to the engine."""
        self._observe(operation)
        with self._lock:
            try:
                yield
            except (BotoCoreError, ClientError, LocalStageError, NotImplementedError) as error:
                context.abort(grpc.StatusCode.UNKNOWN, str(error))


def _resource_type(urn: str) -> str:
    """Return the type in a URN, such as aws:sqs/queue:Queue, without the types of its parents."""
    return urn.split("::")[2].rpartition("$")[2]


def _inputs(urn: str, properties: Struct) -> Inputs:
    return Inputs(_resource_type(urn), urn.rpartition("::")[2], plain(rpc.deserialize_properties(properties)))


def _struct(values: dict[str, Any]) -> Struct:
    result = Struct()
    result.update(values)
    return result


def _merged(properties: Any, changes: Any) -> Struct:
    """Return properties with changes. The engine's markers, such as those of secrets, remain."""
    result = Struct()
    result.CopyFrom(properties)
    result.MergeFrom(changes if isinstance(changes, Struct) else _struct(changes))
    return result


def _is_same(known: Any, current: Any) -> bool:
    """Return whether an input is what AWS has. AWS may format JSON in another way."""
    if is_secret(known):
        return _is_same(known["value"], current)
    if isinstance(known, str) and known.startswith("{"):
        return json.loads(known) == json.loads(current)
    return known == current


@contextmanager
def running_provider(aws: Aws, observe: Callable[[Operation], None] = _ignore) -> Generator[int]:
    """Run the provider on a free loopback port and yield the port."""
    # The engine's operations, of which `observe` may delay many.
    with ThreadPoolExecutor(64) as pool:
        server = grpc.server(pool)
        add = cast("Any", provider_pb2_grpc).add_ResourceProviderServicer_to_server
        add(Provider(aws, observe), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(grace=None).wait()
