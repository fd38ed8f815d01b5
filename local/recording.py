"""What the Pulumi program declares, recorded instead of deployed: each resource, and which others its inputs name.

Every string that the provider's schema calls an output of a resource has one value, a mark of that resource, so that
whoever uses an output, whole or within a text, can be seen to name it.
"""

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs

from .deployer import infra_program, run_program
from .errors import PictureError

MARK = re.compile(r"<<(\S+) (.+?)>>")
STRING_OUTPUTS = (pulumi.Output[str], pulumi.Output[str | None])


@dataclass(frozen=True, order=True)
class Key:
    """A resource's type, such as aws:sqs/queue:Queue, and its name in the program."""

    type: str
    name: str

    @property
    def service(self) -> str:
        """The service, such as sqs."""
        return self.type.split(":")[1].split("/")[0]

    @property
    def kind(self) -> str:
        """The type without the service, such as Queue."""
        return self.type.rsplit(":", 1)[-1]

    @property
    def mark(self) -> str:
        """The value of the resource's outputs."""
        return f"<<{self.type} {self.name}>>"


@dataclass(frozen=True)
class Mention:
    """Where an input names a resource: the properties that lead there, and the text that follows: /uploads/*."""

    path: tuple[str, ...]
    key: Key
    rest: str


@dataclass(frozen=True)
class Declared:
    """A resource. `component` is the outermost that it is a part of; `statements` are those of its policies."""

    key: Key
    component: str | None
    inputs: Mapping[str, Any]
    mentions: tuple[Mention, ...]
    statements: tuple[Mapping[str, Any], ...]

    def all_mentions(self) -> Iterator[Mention]:
        """Return what is named, by statements as well."""
        yield from self.mentions
        for statement in self.statements:
            yield from mentions_in(statement)


@dataclass
class _Recorder(pulumi.runtime.Mocks):
    """`components` has what was declared, in the program's order; the inputs come resolved, in any."""

    components: dict[Key, str | None] = field(default_factory=dict[Key, str | None])
    outputs: dict[Key, list[str]] = field(default_factory=dict[Key, list[str]])
    inputs: dict[Key, dict[str, Any]] = field(default_factory=dict[Key, dict[str, Any]])
    _inside: dict[pulumi.Resource, str | None] = field(default_factory=dict[pulumi.Resource, str | None])

    def declared(self, args: pulumi.ResourceTransformationArgs) -> None:
        """Note a resource when it is declared: only then does Pulumi tell its parent."""
        key, parent = Key(args.type_, args.name), args.opts.parent
        is_component = isinstance(args.resource, pulumi.ComponentResource)
        inside = self._inside.get(parent) if parent else None
        self._inside[args.resource] = inside or (args.name if is_component else None)
        if is_component or isinstance(args.resource, pulumi.ProviderResource):
            return
        if key in self.components:
            raise PictureError(f"two resources of type {key.type} are named {key.name!r}: name one of them otherwise.")
        self.components[key] = inside
        self.outputs[key] = _string_outputs(type(args.resource))

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        key, inputs = Key(args.typ, args.name), cast("dict[str, Any]", args.inputs)
        self.inputs[key] = inputs
        return key.mark, {**inputs, **dict.fromkeys(self.outputs.get(key, []), key.mark)}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
        # What a function of the provider looks up is no resource of the program's.
        names = ("accountId", "arn", "id", "name", "partition", "region", "userId")
        return {**cast("dict[str, Any]", args.args), **{name: name for name in names}}, []


def record(stage: str, config: Mapping[str, str], declare: Callable[[], object] = infra_program) -> list[Declared]:
    """Run the program and return what it declares, in its order. Raises PictureError."""
    recorder = _Recorder()

    def declare_recorded() -> None:
        pulumi.runtime.register_stack_transformation(recorder.declared)
        declare()

    run_program(recorder, stage, config, declare_recorded)
    return [
        Declared(
            key,
            component,
            recorder.inputs[key],
            tuple(mentions_in(recorder.inputs[key])),
            tuple(_statements(recorder.inputs[key])),
        )
        for key, component in recorder.components.items()
    ]


def mentions_in(value: object, path: tuple[str, ...] = ()) -> Iterator[Mention]:
    """Find the resources that a value names, but for policies' statements: who may do what is another question."""
    unfolded = _unfolded(value)
    if isinstance(unfolded, str):
        for mark in MARK.finditer(unfolded):
            yield Mention(path, Key(mark[1], mark[2]), unfolded[mark.end() :])
    for name, part in _parts(unfolded):
        if name != "Statement":
            yield from mentions_in(part, (*path, name) if name else path)


def unmarked(text: str) -> str:
    """Return a text with the names of the resources whose marks it has."""
    return MARK.sub(lambda mark: mark[2], text)


def _statements(value: object) -> Iterator[Mapping[str, Any]]:
    for name, part in _parts(_unfolded(value)):
        if name == "Statement":
            # AWS takes one as well as several.
            yield from cast("list[dict[str, Any]]", part if isinstance(part, list) else [part])
        else:
            yield from _statements(part)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Return what a value consists of, the properties of a mapping by name; Pulumi hands these over in any order."""
    if isinstance(value, dict):
        yield from sorted(cast("dict[str, object]", value).items(), key=operator.itemgetter(0))
    elif isinstance(value, list):
        yield from (("", part) for part in cast("list[object]", value))


def _unfolded(value: object) -> object:
    """Return the value of a text that is a JSON document, and any other as it is."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _string_outputs(resource_type: type[pulumi.Resource]) -> list[str]:
    """Return the names of a resource type's outputs that are strings, in camelCase as Pulumi sends them."""
    return [
        re.sub(r"_(\w)", lambda letter: letter[1].upper(), name)
        for name, output in vars(resource_type).items()
        if isinstance(output, property) and output.fget and output.fget.__annotations__.get("return") in STRING_OUTPUTS
    ]
