"""Whether anything rings, and whether anybody would hear it."""

from collections.abc import Iterator

from yorutsuke.local_stage import LOCAL_STAGE
from yorutsuke.stage import ALARM_TOPIC, Stage

from .finding import Finding, State


def alarms(stage: Stage) -> Iterator[Finding]:
    """Look at the alarms that ring on the stage's topic: by that, and not by a name, they are this stage's."""
    topic = stage.arn("sns", stage.physical(ALARM_TOPIC))
    pages = stage.clients.cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix="yorutsuke-")
    own = [alarm for page in pages for alarm in page["MetricAlarms"] if topic in alarm.get("AlarmActions", [])]
    ringing = [alarm for alarm in own if alarm.get("StateValue") == "ALARM"]
    for alarm in ringing:
        name = alarm.get("AlarmName", "").removeprefix("yorutsuke-").removesuffix(f"-{stage.name}")
        remedy = f"runbook: {name}"
        yield Finding(f"alarm {name}", State.BAD, f"rings: {alarm.get('StateReason', '')}", remedy)
    if not own:
        yield Finding("alarms", State.BAD, f"none rings on {stage.physical(ALARM_TOPIC)}", "deploy the stage again")
    elif not ringing:
        here = ": the emulator evaluates none" if stage.name == LOCAL_STAGE else ""
        yield Finding("alarms", State.OK, f"{len(own)}, none rings{here}")


def listeners(stage: Stage) -> Iterator[Finding]:
    """Look who is told when an alarm rings."""
    topic = stage.arn("sns", stage.physical(ALARM_TOPIC))
    pages = stage.clients.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    arns = [subscription.get("SubscriptionArn", "") for page in pages for subscription in page["Subscriptions"]]
    confirmed = [arn for arn in arns if arn.startswith("arn:")]
    unconfirmed = len(arns) - len(confirmed)
    seen = f"{len(confirmed)} are told" + (f", {unconfirmed} have not confirmed" if unconfirmed else "")
    if confirmed and not unconfirmed:
        yield Finding("who hears alarms", State.OK, seen)
    else:
        yield Finding("who hears alarms", State.WARNING, seen, "alarmEmails in the stage's file; each has to confirm")
