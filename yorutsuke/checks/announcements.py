"""Whether outputs and failed jobs are announced: from the bucket and from EventBridge to the queue."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yorutsuke.policy_document import Delivery, lets
from yorutsuke.stage import FAILED_JOBS_RULE, HANDLER, OUTPUT_TOPIC, Stage

from .finding import Finding, judged

PREFIX = "batch-output/"
SUFFIXES = {".jsonl", ".jsonl.out", "/manifest.json.out"}
"""What the function reads of what is created below the prefix."""
REMEDY = "deploy the stage again, then replay the jobs that doctor then names under outputs"


def bucket_notification(stage: Stage) -> Iterator[Finding]:
    """Look at what S3 announces, and to whom."""
    announced = _announced(stage)
    targets = {target for found in announced.values() for target in found}
    expected = topic_arn(stage) if topic_arn(stage) in targets else stage.function["FunctionArn"]
    problems = [f"nothing announces {PREFIX}*{suffix}" for suffix in sorted(SUFFIXES - announced.keys())]
    problems += [f"announced to {target}, which is not this stage's" for target in sorted(targets - {expected})]
    yield judged("S3 notification", problems, f"to {expected.rpartition(':')[2]}", REMEDY)


def subscription(stage: Stage) -> Iterator[Finding]:
    """Look at the way from the topic to the queue, where there is a topic."""
    if not has_topic(stage):
        yield judged("SNS subscription", [], "no topic: S3 invokes the function straight", REMEDY)
        return
    pages = stage.clients.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn(stage))
    queue = stage.arn("sqs", stage.queue.name)
    arns = [
        found.get("SubscriptionArn", "")
        for page in pages
        for found in page["Subscriptions"]
        if found.get("Protocol") == "sqs" and found.get("Endpoint") == queue
    ]
    problems = [] if any(arn.startswith("arn:") for arn in arns) else [f"{stage.queue.name} is not subscribed"]
    yield judged("SNS subscription", problems, f"{stage.queue.name}, confirmed", REMEDY)


def rule(stage: Stage) -> Iterator[Finding]:
    """Look at the rule that tells of jobs which Bedrock did not complete."""
    name = stage.physical(FAILED_JOBS_RULE)
    state = stage.clients.events.describe_rule(Name=name).get("State")
    targets = {target["Arn"] for target in stage.clients.events.list_targets_by_rule(Rule=name)["Targets"]}
    problems = [] if state == "ENABLED" else [f"the rule is {state}"]
    problems += [] if stage.arn("sqs", stage.queue.name) in targets else [f"{stage.queue.name} is no target of it"]
    yield judged("EventBridge rule", problems, f"enabled, to {stage.queue.name}", REMEDY)


def queue_policy(stage: Stage) -> Iterator[Finding]:
    """Look who may send to the queue, and where what fails there goes: without leave nothing is delivered."""
    attributes = stage.queue.attributes()
    queue = stage.arn("sqs", stage.queue.name)
    sources = {"events.amazonaws.com": stage.arn("events", f"rule/{stage.physical(FAILED_JOBS_RULE)}")}
    if has_topic(stage):
        sources["sns.amazonaws.com"] = topic_arn(stage)
    document = attributes.get("Policy", "{}")
    problems = [
        f"{source.rpartition(':')[2]} may not send to it"
        for service, source in sources.items()
        if not lets(document, Delivery(service, source, "sqs:SendMessage", queue))
    ]
    dead_letter_queue = stage.arn("sqs", stage.dead_letter_queue.name)
    if dead_letter_queue not in attributes.get("RedrivePolicy", ""):
        problems.append(f"what fails does not go to {stage.dead_letter_queue.name}")
    yield judged("queue's policies", problems, "rule and topic may send, what fails is kept", "deploy the stage again")


def topic_arn(stage: Stage) -> str:
    """Return the ARN of the topic that outputs are announced on."""
    return stage.arn("sns", stage.physical(OUTPUT_TOPIC))


def has_topic(stage: Stage) -> bool:
    """Tell whether outputs come by the topic: where S3 invokes the function straight, there is none."""
    return not any(stage.physical(HANDLER) in target for found in _announced(stage).values() for target in found)


def _announced(stage: Stage) -> Mapping[str, Sequence[str]]:
    """Return the targets of the bucket's notification below the prefix, by suffix."""
    found: dict[str, list[str]] = {}
    configuration: Any = stage.clients.s3.get_bucket_notification_configuration(Bucket=stage.settings.images_bucket)
    for kind, target in (("TopicConfigurations", "TopicArn"), ("LambdaFunctionConfigurations", "LambdaFunctionArn")):
        for entry in configuration.get(kind, []):
            rules = {
                r["Name"].lower(): r["Value"] for r in entry.get("Filter", {}).get("Key", {}).get("FilterRules", [])
            }
            if rules.get("prefix") == PREFIX and "s3:ObjectCreated:*" in entry["Events"]:
                found.setdefault(rules.get("suffix", ""), []).append(entry[target])
    return found
