"""Whether the tables are as the code needs them: indexes that answer, records that end."""

from collections.abc import Iterator, Sequence
from typing import Any

from batch_result_handler.job import JOB_ID_INDEX
from yorutsuke.stage import Stage
from yorutsuke.transactions import JOB_INDEX

from .finding import Finding, judged

REMEDY = "deploy the stage again"


def tables(stage: Stage) -> Iterator[Finding]:
    """Look at the three tables."""
    settings = stage.settings
    yield _table(stage, settings.transactions_table, [JOB_INDEX, "imageId-jobId"], ends=True)
    yield _table(stage, settings.batch_jobs_table, [JOB_ID_INDEX], ends=True)
    yield _table(stage, settings.pending_images_table, [], ends=False)


def _table(stage: Stage, name: str, indexes: Sequence[str], *, ends: bool) -> Finding:
    dynamodb = stage.clients.dynamodb
    described: Any = dynamodb.describe_table(TableName=name)["Table"]
    states = {index["IndexName"]: index["IndexStatus"] for index in described.get("GlobalSecondaryIndexes", [])}
    problems = [] if described["TableStatus"] in {"ACTIVE", "UPDATING"} else [f"is {described['TableStatus']}"]
    problems += [
        f"index {index} is {states.get(index, 'not there')}" for index in indexes if states.get(index) != "ACTIVE"
    ]
    if ends:
        ttl = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if (ttl.get("TimeToLiveStatus"), ttl.get("AttributeName")) != ("ENABLED", "ttl"):
            problems.append(f"TTL is {ttl.get('TimeToLiveStatus', 'DISABLED')}: records never end")
    return judged(name, problems, f"active, {len(indexes)} indexes{', TTL' if ends else ''}", REMEDY)
