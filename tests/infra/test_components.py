"""Names of resources are unique when a stack has two instances of each component."""

import importlib
import pkgutil
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi
import pytest

import yorutsuke_infra
from local.deployer import infra_program, run_program
from yorutsuke_infra.artifacts import Target
from yorutsuke_infra.batch_models import Origin
from yorutsuke_infra.batch_results import BatchResults, BatchResultsArgs
from yorutsuke_infra.batch_schedule import BatchSchedule, BatchScheduleArgs
from yorutsuke_infra.batch_submission import BatchSubmission, BatchSubmissionArgs
from yorutsuke_infra.common_layer import CommonLayer, CommonLayerArgs
from yorutsuke_infra.config import StageConfig
from yorutsuke_infra.dashboard import Dashboard, DashboardArgs
from yorutsuke_infra.messaging import Messaging, MessagingArgs
from yorutsuke_infra.metrics import (
    FunctionMetrics,
    JobMetrics,
    QueueMetrics,
    ScheduleMetrics,
    StageMetrics,
    TableMetrics,
    lost_events,
)
from yorutsuke_infra.monitoring import Monitoring, MonitoringArgs
from yorutsuke_infra.output_notification import OutputNotification, OutputNotificationArgs
from yorutsuke_infra.python_function import CommonArgs
from yorutsuke_infra.storage import Storage, StorageArgs

from .conftest import ACCOUNT, PARTITION, REGION, Program, stage_config
from .expected import SCHEDULE

STAGE = "dev"
TARGET = Target("3.13", "arm64")
LAYER = "arn:layer"
ORIGIN = Origin(PARTITION, REGION, ACCOUNT)

PHYSICAL_NAMES = {
    "Bucket": ("bucket",),
    "Dashboard": ("dashboardName",),
    "EventRule": ("name",),
    "EventTarget": ("rule", "targetId"),
    "Function": ("name",),
    "FunctionEventInvokeConfig": ("functionName",),
    "LayerVersion": ("layerName",),
    "LogGroup": ("name",),
    "MetricAlarm": ("name",),
    "Permission": ("function", "statementId"),
    "Queue": ("name",),
    "Role": ("name",),
    "RolePolicy": ("role", "name"),
    "Schedule": ("groupName", "name"),
    "Table": ("name",),
    "Topic": ("name",),
}
"""The inputs that identify a resource in AWS, by its type. Other types are settings or have generated ids."""

MAX_NAME_LENGTHS = {
    "Bucket": 63,
    "Dashboard": 255,
    "EventRule": 64,
    "Function": 64,
    "LayerVersion": 140,
    "LogGroup": 512,
    "MetricAlarm": 255,
    "Queue": 80,
    "Role": 64,
    "Schedule": 64,
    "Table": 255,
    "Topic": 256,
}
"""Maximum lengths of names, in characters. Source: the API reference of each service."""


@dataclass
class Names:
    """The names of the declared resources.

    `urns` omit stack and project. `children` are pairs of a component's name and a child's name.
    """

    urns: list[str] = field(default_factory=list[str])
    classes: set[type[pulumi.Resource]] = field(default_factory=set[type[pulumi.Resource]])
    children: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _types: dict[pulumi.Resource, tuple[str, str]] = field(default_factory=dict[pulumi.Resource, tuple[str, str]])

    def record(self, args: pulumi.ResourceTransformationArgs) -> None:
        """Record a resource when the program declares it."""
        qualified = args.type_
        if args.opts.parent in self._types:
            parent_type, parent_name = self._types[args.opts.parent]
            qualified = f"{parent_type}${args.type_}"
            self.children.append((parent_name, args.name))
        self._types[args.resource] = qualified, args.name
        self.urns.append(f"{qualified}::{args.name}")
        self.classes.add(type(args.resource))


def _declare_all_components(name: str, config: StageConfig) -> None:
    """Declare one instance of each component."""
    storage = Storage(f"{name}-storage", StorageArgs(STAGE, ACCOUNT, protect_data=False))
    messaging = Messaging(
        f"{name}-messaging", MessagingArgs(STAGE, ACCOUNT, storage.images, 60, None, protect_data=False)
    )
    CommonLayer(f"{name}-layer", CommonLayerArgs(STAGE, TARGET))
    common = CommonArgs(STAGE, config, TARGET, LAYER)
    handler = BatchResults(f"{name}-results", BatchResultsArgs(common, storage, messaging)).handler.function
    requests = BatchSubmission(f"{name}-submission", BatchSubmissionArgs(common, storage, ORIGIN)).dead_letter_queue
    BatchSchedule(f"{name}-schedule", BatchScheduleArgs(STAGE, ORIGIN, SCHEDULE, "UTC", handler, requests))
    notification = OutputNotificationArgs(config.trigger, ACCOUNT, storage.images, messaging, handler)
    OutputNotification(f"{name}-output", notification)
    queue, function = QueueMetrics(messaging.queue.name), FunctionMetrics(handler.name, 60)
    tables = TableMetrics(storage.transactions.name, storage.pending_images.name)
    lost = lost_events("Events of failed jobs", messaging.rule.name)
    schedule = ScheduleMetrics(STAGE, 3)
    metrics = StageMetrics(
        JobMetrics(STAGE), queue, queue, function, function, queue, tables, lost, lost, lost, schedule
    )
    monitoring = Monitoring(f"{name}-monitoring", MonitoringArgs(STAGE, ACCOUNT, metrics, ["oncall@example.com"]))
    Dashboard(f"{name}-dashboard", DashboardArgs(STAGE, REGION, metrics, monitoring.alarms, "log", "other-log"))


def _declare_two_of_each(trigger: str) -> tuple[Names, Program]:
    names, program = Names(), Program()
    config = StageConfig.model_validate({"trigger": trigger})

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(names.record)
        for name in ("one", "two"):
            _declare_all_components(name, config)

    run_program(program, STAGE, {}, declare)
    return names, program


def _physical_names(program: Program) -> list[tuple[Any, ...]]:
    """Return the type and the identifying inputs of each resource that has a name in AWS."""
    resources = [
        (resource.typ.rsplit(":", 1)[-1], cast("dict[str, Any]", resource.inputs))
        for resource in program.resources
        if resource.typ.startswith("aws:")
    ]
    named = [(kind, inputs) for kind, inputs in resources if kind in PHYSICAL_NAMES]
    return [(kind, *(inputs[key] for key in PHYSICAL_NAMES[kind])) for kind, inputs in named]


def _duplicates(names: list[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_two_instances_of_components_have_different_names(trigger: str) -> None:
    names, program = _declare_two_of_each(trigger)

    assert _duplicates(names.urns) == []
    assert _duplicates(_physical_names(program)) == []


def test_names_of_children_begin_with_component_name() -> None:
    names, _ = _declare_two_of_each("sqs")

    assert [child for component, child in names.children if not child.startswith(component)] == []


def test_every_component_is_declared_twice() -> None:
    names, _ = _declare_two_of_each("sqs")
    modules = [
        importlib.import_module(f"yorutsuke_infra.{module.name}")
        for module in pkgutil.iter_modules(yorutsuke_infra.__path__)
    ]

    components = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, pulumi.ComponentResource)
    }
    assert components <= names.classes


def test_every_resource_name_begins_with_the_project() -> None:
    names, program = Names(), Program()

    def declare() -> None:
        pulumi.runtime.register_stack_transformation(names.record)
        infra_program()

    run_program(program, STAGE, stage_config(STAGE, schedule=SCHEDULE), declare)

    assert [urn for urn in names.urns if not urn.rpartition("::")[2].startswith("yorutsuke")] == []
    assert _duplicates(names.urns) == []
    assert _duplicates(_physical_names(program)) == []


def test_physical_names_fit_the_longest_stage_name() -> None:
    stage, program = "d" * 27, Program()

    run_program(program, stage, stage_config(stage, schedule=SCHEDULE))

    named = [(kind, name[-1]) for kind, *name in _physical_names(program) if kind in MAX_NAME_LENGTHS]
    assert {kind for kind, _ in named} == set(MAX_NAME_LENGTHS)
    assert [name for kind, name in named if len(name) > MAX_NAME_LENGTHS[kind]] == []
