"""Where the log tells of a job: a query of CloudWatch Logs Insights, as a link to its console and as a command.

AWS documents no form of the link. It is the one that the console itself makes: an object as `~(name~value~…)`, strings
behind a quote, their other characters as `*` and two hex digits, and `?queryDetail=` before it with `$` for `%`.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

QUERY = """fields @timestamp, service, event, level, messageId, error, detail, reason, imageId
| filter intentId = "{intent}" or jobId = "{job}"
| sort @timestamp"""
PLAIN = re.compile(r"[A-Za-z0-9._-]")


@dataclass(frozen=True)
class LogQuery:
    """A query over log groups, from an instant to another."""

    region: str
    log_groups: Sequence[str]
    query: str
    start: datetime
    end: datetime

    @property
    def link(self) -> str:
        """The console with the query in place."""
        sources = "".join(f"~'{_escaped(group)}" for group in self.log_groups)
        detail = (
            f"~(end~'{_escaped(_instant(self.end))}~start~'{_escaped(_instant(self.start))}~timeType~'ABSOLUTE~tz~'UTC"
            f"~editorString~'{_escaped(self.query)}~source~({sources}))"
        )
        console = f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}"
        return f"{console}#logsV2:logs-insights$3FqueryDetail$3D{detail}"

    @property
    def command(self) -> str:
        """The same by the AWS CLI; `aws logs get-query-results --query-id …` then has the answer."""
        start, end = int(self.start.timestamp()), int(self.end.timestamp())
        words = ["aws", "logs", "start-query", "--region", self.region, "--log-group-names", *self.log_groups]
        words += ["--start-time", str(start), "--end-time", str(end), "--query-string", self.query]
        return shlex.join(words)


def job_query(intent_id: str, job_id: str | None) -> str:
    """Return the query for all that is said of a job."""
    return QUERY.format(intent=_literal(intent_id), job=_literal(job_id or intent_id))


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _escaped(text: str) -> str:
    return "".join(c if PLAIN.fullmatch(c) else "".join(f"*{byte:02x}" for byte in c.encode()) for c in text)
