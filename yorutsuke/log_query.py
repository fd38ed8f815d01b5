"""A query of CloudWatch Logs Insights for the log entries of a job, as a link and as a command.

AWS does not document the form of the link. The console itself writes an object as `~(name~value~…)`. A quote precedes
each string, and other characters become `*` and two hexadecimal digits. The link ends with `?queryDetail=` and the
object, with `$` instead of `%`.
"""

import re
from collections.abc import Sequence
from datetime import datetime

QUERY = (
    "fields @timestamp, service, event, level, messageId, error, detail, reason, imageId"
    ' | filter intentId = "{intent}" or jobId = "{job}"'
    " | sort @timestamp"
)
"""The query, in one line: a line break in an id must not look like one of the query."""


def job_query(intent_id: str, job_id: str | None) -> str:
    """Return the query for the log entries of a job."""
    intent, job = (text.replace("\\", "\\\\").replace('"', '\\"') for text in (intent_id, job_id or intent_id))
    return QUERY.format(intent=intent, job=job)


def console_link(region: str, log_groups: Sequence[str], query: str, start: datetime, end: datetime) -> str:
    """Return the link to the console with a query over log groups, between two instants."""
    first, last = (_escaped(instant.strftime("%Y-%m-%dT%H:%M:%S.000Z")) for instant in (start, end))
    sources = "".join(f"~'{_escaped(group)}" for group in log_groups)
    times = f"end~'{last}~start~'{first}~timeType~'ABSOLUTE~tz~'UTC"
    console = f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logsV2:logs-insights"
    return f"{console}$3FqueryDetail$3D~({times}~editorString~'{_escaped(query)}~source~({sources}))"


def cli_arguments(log_groups: Sequence[str], query: str, start: datetime, end: datetime) -> list[str]:
    """Return the AWS CLI's arguments that start a query. `aws logs get-query-results` returns its results."""
    times = ["--start-time", f"{start.timestamp():.0f}", "--end-time", f"{end.timestamp():.0f}"]
    return ["logs", "start-query", "--log-group-names", *log_groups, *times, "--query-string", query]


def _escaped(text: str) -> str:
    return "".join(c if re.match(r"[A-Za-z0-9._-]", c) else "".join(f"*{b:02x}" for b in c.encode()) for c in text)
