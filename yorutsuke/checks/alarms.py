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
    ringing = [alarm for alarm in own if alarm.get("StateValue") == "ALARM"]
    for alarm in ringing:
        name = alarm.get("AlarmName", "").removeprefix(f"{PROJECT}-").removesuffix(f"-{stage.name}")
        remedy = f"runbook: {name}"
        yield Finding(f"alarm {name}", State.BAD, f"rings: {alarm.get('StateReason', '')}", remedy)
    if not own:
        yield Finding("alarms", State.BAD, f"none rings on {topic.rpartition(':')[2]}", "deploy the stage again")
    elif not ringing:
        here = ": the emulator evaluates none" if stage.name == LOCAL_STAGE else ""
        yield Finding("alarms", State.OK, f"{len(own)}, none rings{here}")


def subscriptions(stage: Stage) -> Iterator[Finding]:
    """Check that each subscription to the alarms is confirmed, and that there is one."""
    pages = stage.clients.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=stage.alarm_topic_arn)
    arns = [subscription.get("SubscriptionArn", "") for page in pages for subscription in page["Subscriptions"]]
    confirmed = [arn for arn in arns if arn.startswith("arn:")]
    unconfirmed = len(arns) - len(confirmed)
    seen = f"{len(confirmed)} are told" + (f", {unconfirmed} have not confirmed" if unconfirmed else "")
    if confirmed and not unconfirmed:
        yield Finding("who hears alarms", State.OK, seen)
    else:
        yield Finding("who hears alarms", State.WARNING, seen, "alarmEmails in the stage's file; each has to confirm")
