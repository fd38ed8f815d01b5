"""Whether the functions can run: they are there as deployed, on one layer, and are given what they are to work on."""

from collections.abc import Iterator, Mapping
from typing import Any

from yorutsuke.stage import COMMON_LAYER, HANDLER, ORCHESTRATOR, Stage

from .finding import Finding, judged

REMEDY = "deploy the stage again"


def functions(stage: Stage) -> Iterator[Finding]:
    """Look at both functions, and that they stand on the same layer."""
    configurations = {name: _configuration(stage, name) for name in (HANDLER, ORCHESTRATOR)}
    for name, configuration in configurations.items():
        yield judged(name, _problems(stage, name, configuration), "active, updated, on its layer", REMEDY)
    layers = {arn for configuration in configurations.values() for arn in _layers(configuration)}
    seen = ", ".join(sorted(arn.rpartition("layer:")[2] for arn in layers))
    yield judged("layer", [f"not one layer: {seen}"] if len(layers) > 1 else [], seen, REMEDY)


def event_source(stage: Stage) -> Iterator[Finding]:
    """Look at what feeds the handler from its queue."""
    name = stage.physical(HANDLER)
    pages = stage.clients.lambda_.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
    states = {
        mapping.get("EventSourceArn"): mapping.get("State") for page in pages for mapping in page["EventSourceMappings"]
    }
    queue = stage.arn("sqs", stage.queue.name)
    problems = [] if states.get(queue) == "Enabled" else [f"{stage.queue.name}: {states.get(queue, 'no mapping')}"]
    yield judged("event source mapping", problems, f"enabled, from {stage.queue.name}", REMEDY)


def _configuration(stage: Stage, name: str) -> Mapping[str, Any]:
    return stage.clients.lambda_.get_function_configuration(FunctionName=stage.physical(name))


def _layers(configuration: Mapping[str, Any]) -> list[str]:
    return [layer["Arn"] for layer in configuration.get("Layers", [])]


def _problems(stage: Stage, name: str, configuration: Mapping[str, Any]) -> Iterator[str]:
    # A function that nobody has invoked for weeks is Inactive, and wakes up by being invoked.
    if (state := configuration.get("State", "Active")) not in {"Active", "Inactive"}:
        yield f"state {state}: {configuration.get('StateReason', '')}"
    if (updated := configuration.get("LastUpdateStatus", "Successful")) != "Successful":
        yield f"last update {updated}: {configuration.get('LastUpdateStatusReason', '')}"
    layer = stage.physical(COMMON_LAYER)
    if not any(f":layer:{layer}:" in arn for arn in _layers(configuration)):
        yield f"without its layer {layer}"
    concurrency = stage.clients.lambda_.get_function_concurrency(FunctionName=stage.physical(name))
    if concurrency.get("ReservedConcurrentExecutions") == 0:
        yield "its concurrency is 0: it is switched off"
