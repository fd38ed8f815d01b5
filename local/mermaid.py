"""A diagram as a Mermaid flowchart: text that GitHub, GitLab and editors draw by themselves."""

import re
from collections.abc import Iterator, Sequence

from .diagram import Arrow, Diagram, Node, words

UNSAFE = re.compile(r"[^\w .,:/()+-]", re.ASCII)
"""What Mermaid, or HTML or Markdown within it, might take for its own."""


def flowchart(diagram: Diagram) -> str:
    """Return the flowchart, from left to right."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _lines(diagram))])


def _lines(diagram: Diagram) -> Iterator[str]:
    """Draw nodes and arrows; a component's nodes that no arrow leaves have a frame apart.

    In one with the others they would stretch it under the arrows that pass it, to where Mermaid lays arrows over boxes.
    """
    going_on = {arrow.source for arrow in diagram.arrows}
    frames: dict[tuple[str | None, bool], list[Node]] = {}
    for node in diagram.nodes:
        frames.setdefault((node.component, node in going_on), []).append(node)
    for (component, goes_on), nodes in frames.items():
        if component is None:
            yield from map(_node, nodes)
            continue
        yield f'subgraph {_id("component" if goes_on else "ends", component)}["{_escaped(component)}"]'
        yield from (f"    {_node(node)}" for node in nodes)
        yield "end"
    yield from map(_arrow, diagram.arrows)


def _node(node: Node) -> str:
    first, several = node.things[0], len(node.things) > 1
    kind = f"{first.service} {words(first.kind)}"
    names = [_escaped(thing.name) for thing in node.things]
    lines = [f"<b>{len(names)} {kind}s</b>", *names] if several else [f"<i>{kind}</i>", f"<b>{names[0]}</b>"]
    return f'{_node_id(node)}["{_lines_of(lines, node.notes)}"]'


def _arrow(arrow: Arrow) -> str:
    line = "---" if arrow.headless else "-->"
    label = "<br/>".join(_lines_of([_escaped(label.text)], label.details) for label in arrow.labels)
    return f'{_node_id(arrow.source)} {line}|"{label}"| {_node_id(arrow.target)}'


def _lines_of(lines: Sequence[str], small: Sequence[str]) -> str:
    return "<br/>".join([*lines, *(f"<small>{_escaped(line)}</small>" for line in small)])


def _node_id(node: Node) -> str:
    first = node.things[0]
    return _id(first.service, words(first.kind), first.name)


def _id(*parts: str) -> str:
    return re.sub(r"\W", "_", "_".join(parts), flags=re.ASCII)


def _escaped(text: str) -> str:
    """Return the text with Mermaid's numbered entities in it."""
    return UNSAFE.sub(lambda character: f"#{ord(character[0])};", text)
