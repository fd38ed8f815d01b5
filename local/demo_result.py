"""The result of a demo, read from the stage, as tables and as one object for `--json`."""

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from yorutsuke_common.names import PROCESSED_PREFIX, UPLOADS_PREFIX, ResultMetric
from yorutsuke_common.object_keys import dead_letters_key

from .bedrock.model_requests import INVOKE_MODEL
from .job_run import JobRun

TRANSACTIONS_SHOWN = 8
DEAD_LETTERS_SHOWN = 20
LEFT_SHOWN = 4


@dataclass(frozen=True)
class LoopAnswers:
    """The orchestrator's answer to each request, and the states that each job in Bedrock has had, by job id."""

    answers: list[dict[str, Any]]
    states: dict[str, list[str]]


class DemoResult:
    """The result of a processed job, as the stage holds it now.

    `seconds` is the time from the output's arrival, or the submission, to the job's end.
    """

    def __init__(self, job_run: JobRun, seconds: float, loop: LoopAnswers | None = None) -> None:
        job_run.wait_for_entry(ResultMetric.PROCESSING_TIME)
        self.job_run = job_run
        self.seconds = seconds
        self.loop = loop
        self.job = job_run.job()
        self.transactions = job_run.transactions()
        self.processed = job_run.object_keys(PROCESSED_PREFIX)
        self.left = job_run.object_keys(UPLOADS_PREFIX)
        self.dead_letters = job_run.dead_letters()
        self.metrics = [entry for entry in job_run.log_entries() if ResultMetric.PROCESSING_TIME in entry]
        self.dlq_depth = job_run.dlq_depth()

    def summary(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        stats = self.job.get("resultStats", {})
        names = ("successCount", "failureCount", "totalCount", "migrationFailedCount")
        summary = {
            "jobId": self.job_run.job_id,
            "jobStatus": self.job["status"],
            "resultStats": {name: int(stats[name]) for name in names if name in stats},
            "transactions": len(self.transactions),
            "imagesProcessed": len(self.processed),
            "imagesLeft": len(self.left),
            "bedrockCounts": {name: int(count) for name, count in self.job.get("bedrockCounts", {}).items()},
            "deadLetters": [{"line": letter["line"], "reason": letter["reason"]} for letter in self.dead_letters],
            "dlqDepth": self.dlq_depth,
            "seconds": round(self.seconds, 2),
        }
        if self.loop:
            summary |= {
                "intentId": self.job_run.intent_id,
                "modelId": self.job.get("modelId"),
                "modelInvocationType": self.job.get("modelInvocationType", INVOKE_MODEL),
                "submittedImages": self.loop.answers[0]["imageCount"],
                "submissions": len(self.loop.answers),
                "bedrockJobs": len(self.loop.states),
            }
        return summary

    def tables(self) -> list[Table]:
        """Return the result as tables."""
        transactions = [self._transactions_table()] if self.transactions else []
        letters = [self._dead_letters_table()] if self.dead_letters else []
        return [*transactions, *letters, self._job_table()]

    def _transactions_table(self) -> Table:
        shown = sorted(self.transactions, key=lambda transaction: transaction["imageId"])[:TRANSACTIONS_SHOWN]
        title = f"The first {len(shown)} of {len(self.transactions)} transactions"
        table = Table("transactionId", "image", "date", "merchant", "category", title=title, title_justify="left")
        table.add_column("amount", justify="right")
        names = ("transactionId", "imageId", "date", "merchant", "category", "amount")
        for transaction in shown:
            table.add_row(*(str(transaction[name]) for name in names))
        return table

    def _dead_letters_table(self) -> Table:
        shown, key = self.dead_letters[:DEAD_LETTERS_SHOWN], dead_letters_key(self.job_run.job_id)
        title = f"The first {len(shown)} of {len(self.dead_letters)} dead letters in {key}"
        table = Table("line", "image", "reason", "detail", title=title, title_justify="left")
        for letter in shown:
            table.add_row(str(letter["line"]), letter.get("imageId", "–"), letter["reason"], letter["detail"])
        return table

    def _job_table(self) -> Table:
        summary, job_run = self.summary(), self.job_run
        stats = " ".join(f"{name}={value}" for name, value in summary["resultStats"].items())
        folders = sorted({"/".join(key.split("/")[:2]) + "/" for key in self.processed})
        left = [*sorted(self.left)[:LEFT_SHOWN], *(["…"] if len(self.left) > LEFT_SHOWN else [])]
        table = Table(show_header=False, title="Job", title_justify="left")
        table.add_row("job", f"{job_run.job_id}  {summary['jobStatus']}  {stats}")
        table.add_row("images moved", f"{len(self.processed)}" + (f" in {', '.join(folders)}" if folders else ""))
        table.add_row("images not moved", f"{len(self.left)}" + (f": {', '.join(left)}" if left else ""))
        for entry in self.metrics:
            table.add_row("metrics", " ".join(f"{name}={entry[name][0]:g}" for name in ResultMetric if name in entry))
        if counts := summary["bedrockCounts"]:
            processed, errors = counts["processedRecordCount"], f"{counts['errorRecordCount']} with an error"
            records = f"{processed} of {counts['totalRecordCount']} records processed, {errors}"
            table.add_row("output manifest", f"{records}. The counts agree with the output.")
        table.add_row("dead-letter queue", f"messages: {self.dlq_depth}" if self.dlq_depth else "empty")
        table.add_row("trace", f"intentId={job_run.intent_id} traceId={self.job['traceId']}")
        if self.loop:
            table.add_row("model", f"{summary['modelId']}  {summary['modelInvocationType']}")
            jobs = f"jobs in Bedrock: {len(self.loop.states)}"
            table.add_row("requests", f"{len(self.loop.answers)} with one intent id; {jobs}")
            for job_id, states in self.loop.states.items():
                table.add_row("job in Bedrock", f"{job_id}  {' → '.join(states)}")
        start = "submission" if self.loop else "upload of the output"
        table.add_row("duration", f"{self.seconds:.1f} s since the {start}")
        return table
