"""Checks alarms and the subscriptions to their topic."""

from collections.abc import Iterator

from yorutsuke.stage import Stage
from yorutsuke_common.names import LOCAL_STAGE, PROJECT

from .finding import Finding, State


def alarms(stage: Stage) -> Iterator[Finding]:
    """Check the alarms that notify the stage's topic. The topic, not a name, makes them this stage's."""
    topic = stage.alarm_topic_arn
    pages = stage.clients.cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{PROJECT}-")
    own = [alarm for page in pages for alarm in page["MetricAlarms"] if topic in alarm.get("AlarmActions", [])]
    active = [alarm for alarm in own if alarm.get("StateValue") == "ALARM"]
    for alarm in active:
        name = alarm.get("AlarmName", "").removeprefix(f"{PROJECT}-").removesuffix(f"-{stage.name}")
        yield Finding(f"alarm {name}", State.BAD, f"in ALARM: {alarm.get('StateReason', '')}", f"runbook: {name}")
    if not own:
        seen = f"0 alarms notify {topic.rpartition(':')[2]}"
        yield Finding("alarms", State.BAD, seen, "deploy the stage again")
    elif not active:
        local = " (the emulator does not evaluate alarms)" if stage.name == LOCAL_STAGE else ""
        yield Finding("alarms", State.OK, f"{len(own)} alarms, 0 in ALARM{local}")


def subscriptions(stage: Stage) -> Iterator[Finding]:
    """Check that the alarms have subscriptions, and that each is confirmed."""
    pages = stage.clients.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=stage.alarm_topic_arn)
    arns = [subscription.get("SubscriptionArn", "") for page in pages for subscription in page["Subscriptions"]]
    # SNS returns the text PendingConfirmation instead of an ARN.
    confirmed = sum(arn.startswith("arn:") for arn in arns)
    seen = f"{confirmed} confirmed, {len(arns) - confirmed} not confirmed"
    if confirmed and confirmed == len(arns):
        yield Finding("alarm subscriptions", State.OK, seen)
    else:
        remedy = "add alarmEmails to the stage's file and deploy; each recipient confirms with the link in SNS's email"
        yield Finding("alarm subscriptions", State.WARNING, seen, remedy)
