"""What the picture shows of a program's resources, by rules that know no resource of it.

A *thing* bears a physical name of the stage's, or is named by another resource; what names nothing is one as well.
The others stand between things: one that names a single thing is a *setting*, a note on it; one that names several is
what an *arrow* stands for. An arrow is labelled by what it is there for:

- what stands between things, by its type: event source mapping;
- a statement of a policy, by what it allows: s3:GetObject uploads/*. It goes from who may (the holder of the policy,
  or whom the principal and the conditions name) to what it is about;
- a thing's own property that names another, by the property: redrive policy. Where a statement lets the one act on the
  other, that says more and stands alone.

Which way an arrow goes is in the property that names a thing: it comes from there where one of the property's words is
in FROM (eventSourceArn, metricQueries), else it goes there. What stands between things and names none that it comes
from comes from the one that a property is called after (a subscription's `topic`, of type Topic); where there is no
such property, the line has no head.

A role is drawn as the one that takes it, by a property `role`: what the role may, it may. Things of one type and
component that do nothing but point to the same things are one node, which lists them: alarms. A thing that only reads
others, and that nothing names, has no arrows, which would come from everywhere, but lists what it reads: a dashboard.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from yorutsuke_infra.config import physical_name

from .recording import Declared, Key, Mention, mentions_in, unmarked

FROM = {"source", "metric", "metrics", "dimensions", "dashboard"}
"""Words of a property that names where something comes from."""

ROLE = "aws:iam/role:Role"

Statement = Mapping[str, Any]


@dataclass(frozen=True)
class Node:
    """One thing, or several that are drawn as one; `notes` are their settings."""

    things: tuple[Key, ...]
    component: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """What an arrow stands for, such as s3:GetObject, and more of it, such as uploads/*."""

    text: str
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.text, *self.details])


@dataclass(frozen=True)
class Arrow:
    """A line between two nodes."""

    source: Node
    target: Node
    labels: tuple[Label, ...]
    headless: bool


@dataclass(frozen=True)
class Diagram:
    """Nodes in the order of the program, arrows in the order of their nodes."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]


def diagram(stage: str, resources: Sequence[Declared]) -> Diagram:
    """Return what to draw of a stage's resources."""
    sketch = _Sketch(stage, resources)
    for resource in sketch.read:
        if resource.key not in sketch.things:
            sketch.draw_between(resource)
    for resource in sketch.read:
        sketch.draw_statements(resource)
    for thing in sketch.things.values():
        sketch.draw_properties(thing)
    return sketch.finished()


class _Sketch:
    """What is found, resource by resource. `read` are those to look at, `things` those to draw."""

    def __init__(self, stage: str, resources: Sequence[Declared]) -> None:
        self._mentioned = {mention.key for resource in resources for mention in resource.all_mentions()}
        things = [
            resource
            for resource in resources
            if resource.key in self._mentioned or not resource.mentions or _bears_name(resource, stage)
        ]
        self._taken_by = _takers_of_roles(things)
        self.read = [resource for resource in resources if resource.key not in self._taken_by]
        self.things = {thing.key: thing for thing in things if thing.key not in self._taken_by}
        self._labels: defaultdict[tuple[Key, Key, bool], list[Label]] = defaultdict(list)
        self._notes: defaultdict[Key, list[str]] = defaultdict(list)
        self._points_to: defaultdict[Key, set[Key]] = defaultdict(set)
        self._looks_at: dict[Key, list[Key]] = {}
        self._allowed: set[tuple[Key, Key]] = set()
        self._busy: set[Key] = set()

    def draw_statements(self, resource: Declared) -> None:
        """Draw who may do what; note what a service or anybody may, and what is said of no thing."""
        holders = [resource.key] if resource.key in self.things else list(self._named(resource.mentions))
        for statement in resource.statements:
            objects = self._named(mentions_in(statement.get("Resource")))
            subjects = list(self._named(_subjects(statement))) if _of_others(statement) else holders
            for target in objects or holders:
                allowance = _allowance(statement, objects.get(target, []))
                sources = [source for source in subjects if source != target]
                for source in sources:
                    self._draw(source, target, allowance)
                    self._allowed.add((source, target))
                if not sources:
                    self._notes[target].append(f"{_principals(statement)} may {allowance}".strip())

    def draw_properties(self, thing: Declared) -> None:
        """Draw what a thing's own properties name, or keep it for a note where the thing only looks on."""
        if all(map(_comes_from, thing.mentions)) and not self._mentioned.union(self._busy).intersection([thing.key]):
            self._looks_at[thing.key] = list(self._named(thing.mentions))
            return
        for other, mentions in self._named(thing.mentions).items():
            for mention in mentions if other != thing.key else []:
                label = Label(words(mention.path[0]))
                if _comes_from(mention):
                    self._labels[other, thing.key, False].append(label)
                    continue
                self._points_to[thing.key].add(other)
                self._busy.add(other)
                if (thing.key, other) not in self._allowed:
                    self._labels[thing.key, other, False].append(label)

    def draw_between(self, resource: Declared) -> None:
        """Draw what stands between things, or note it with the one thing that it is a setting of."""
        named = self._named(resource.mentions)
        kind = words(resource.key.kind)
        if len(named) == 1:
            if not resource.statements:
                [(owner, [mention, *_])] = named.items()
                self._notes[owner].append(kind.removeprefix(f"{words(mention.key.kind)} "))
            return
        sources = [key for key, mentions in named.items() if any(map(_comes_from, mentions))]
        owners = [key for key, mentions in named.items() if any(map(_is_called_after, mentions))]
        headless = not sources and len(owners) != 1
        sources = sources or owners[:1] or list(named)[:1]
        targets = [key for key in named if key not in sources]
        for source, target in itertools.product(sources, targets):
            [property_name, *deeper] = named[target][0].path
            aside = len(targets) > 1 and deeper
            label = Label(kind, (words(property_name),) if aside else ())
            self._draw(source, target, label, headless=headless)

    def finished(self) -> Diagram:
        """Put alike things together, and what was found between the same two."""
        groups: dict[object, list[Key]] = {}
        for key, thing in self.things.items():
            alike = (thing.component, key.type, frozenset(self._points_to[key]))
            alone = key in self._busy or not self._points_to[key]
            groups.setdefault(key if alone else alike, []).append(key)
        group_of = {key: tuple(keys) for keys in groups.values() for key in keys}
        nodes = {
            group: Node(group, self.things[group[0]].component, tuple(self._notes_on(group, group_of)))
            for group in dict.fromkeys(group_of.values())
        }
        labels: defaultdict[tuple[Node, Node, bool], dict[Label, None]] = defaultdict(dict)
        for (source, target, headless), found in self._labels.items():
            labels[nodes[group_of[source]], nodes[group_of[target]], headless].update(dict.fromkeys(found))
        place = {node: number for number, node in enumerate(nodes.values())}
        arrows = [Arrow(source, target, tuple(found), headless) for (source, target, headless), found in labels.items()]
        arrows.sort(key=lambda arrow: (place[arrow.source], place[arrow.target], arrow.headless))
        return Diagram(tuple(nodes.values()), tuple(arrows))

    def _notes_on(self, group: Sequence[Key], group_of: Mapping[Key, tuple[Key, ...]]) -> Iterator[str]:
        """Return what a node's things are set to, each setting once, and what they look at."""
        for note, count in Counter(note for key in group for note in self._notes[key]).items():
            yield note if count == 1 else f"{count} × {note}"
        seen = dict.fromkeys(group_of[key] for thing in group for key in self._looks_at.get(thing, []))
        singles = defaultdict[str, list[str]](list)
        for first, *others in sorted(seen):
            if others:
                yield f"reads {len(others) + 1} {words(first.kind)}s"
            else:
                singles[words(first.kind)].append(first.name)
        for kind, names in singles.items():
            yield f"reads {kind} {', '.join(names)}"

    def _draw(self, source: Key, target: Key, label: Label, *, headless: bool = False) -> None:
        self._labels[source, target, headless].append(label)
        self._busy.update((source, target))

    def _named(self, mentions: Iterable[Mention]) -> dict[Key, list[Mention]]:
        """Return the things named, roles as those who take them."""
        named: defaultdict[Key, list[Mention]] = defaultdict(list)
        for mention in mentions:
            named[self._taken_by.get(mention.key, mention.key)].append(mention)
        return named


def _bears_name(resource: Declared, stage: str) -> bool:
    name = re.compile(physical_name(r"\S+", stage).join([r'[^\s"]*'] * 2))
    return any(isinstance(value, str) and name.fullmatch(value) for value in resource.inputs.values())


def _takers_of_roles(things: Sequence[Declared]) -> dict[Key, Key]:
    """Return by role the one thing that takes it; a role of several is a thing of its own."""
    takers: defaultdict[Key, set[Key]] = defaultdict(set)
    for thing in things:
        for mention in thing.mentions:
            if mention.key.type == ROLE and _is_called_after(mention):
                takers[mention.key].add(thing.key)
    return {role: taker for role, [taker, *others] in takers.items() if not others}


def _comes_from(mention: Mention) -> bool:
    return any(FROM.intersection(words(part).split()) for part in mention.path)


def _is_called_after(mention: Mention) -> bool:
    """Tell whether a property is called after the type of what it names: `topic`, or `functionName`."""
    [name, *deeper] = mention.path
    return not deeper and not set(words(name).split()).isdisjoint(words(mention.key.kind).split())


def _allowance(statement: Statement, objects: Iterable[Mention]) -> Label:
    """Return what a statement allows, or denies, on which paths of a thing, and which other conditions it has."""
    actions = ", ".join(
        [*_listed(statement, "Action"), *(f"all but {name}" for name in _listed(statement, "NotAction"))]
    )
    paths = sorted({mention.rest.lstrip("/:") for mention in objects} - {"", "*"})
    spared = [f"all but {unmarked(name)}" for name in _listed(statement, "NotResource")]
    conditions = sorted(
        key if any(mentions_in(operand)) or not isinstance(operand, str) else f"{key} is {operand}"
        for comparison, key, operand in _conditions(statement)
        if not (_of_others(statement) and "Not" not in comparison and any(mentions_in(operand)))
    )
    details = [", ".join([*paths, *spared]), f"if {' and '.join(conditions)}" if conditions else ""]
    return Label(f"not {actions}" if statement["Effect"] == "Deny" else actions, tuple(filter(None, details)))


def _principals(statement: Statement) -> str:
    """Return whom a policy's statement is about, by the names it has for them: cloudwatch.amazonaws.com."""
    principals = statement.get("Principal", statement.get("NotPrincipal", {}))
    if isinstance(principals, str):
        return "anybody"
    kinds = cast("dict[str, Any]", principals)
    names = ", ".join(unmarked(name) for kind in sorted(kinds) for name in _listed(kinds, kind))
    return f"anybody but {names}" if "NotPrincipal" in statement else names


def _subjects(statement: Statement) -> Iterator[Mention]:
    """Return who is named by the principal, or by what a condition says that the request must come from."""
    yield from mentions_in(statement.get("Principal"))
    for comparison, _, operand in _conditions(statement):
        if "Not" not in comparison:
            yield from mentions_in(operand)


def _conditions(statement: Statement) -> Iterator[tuple[str, str, object]]:
    """Return the comparison, the key and the operand of each condition: ArnEquals, aws:SourceArn, an ARN."""
    for comparison, operands in cast("dict[str, dict[str, object]]", statement.get("Condition", {})).items():
        for key, operand in operands.items():
            yield comparison, key, operand


def _of_others(statement: Statement) -> bool:
    """Tell whether a statement is a resource's, about those who come to it, and not a role's about itself."""
    return "Principal" in statement or "NotPrincipal" in statement


def _listed(mapping: Mapping[str, Any], name: str) -> list[str]:
    """Return what a policy may have as one or as several."""
    value: str | list[str] = mapping.get(name, [])
    return [value] if isinstance(value, str) else value


def words(name: str) -> str:
    """Return a name of Pulumi's as words: EventSourceMapping is event source mapping."""
    return " ".join(re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)).lower()
