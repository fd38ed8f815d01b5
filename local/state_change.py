"""What Bedrock says on the event bus when a batch inference job has changed its state.

Source: Amazon Bedrock user guide, "How EventBridge for Amazon Bedrock works".
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from yorutsuke_common.names import JOB_STATE_CHANGE

from .errors import LocalStageError

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


@dataclass(frozen=True)
class StateChange:
    """A job's new `status`, in Bedrock's words. `message` is empty where there is nothing to say."""

    job_arn: str
    job_name: str
    model_id: str
    status: str
    message: str
    created: datetime

    @property
    def job_id(self) -> str:
        """The last part of the job's ARN."""
        return self.job_arn.rpartition("/")[2]

    def detail(self) -> dict[str, str]:
        """Return the event's detail."""
        return {
            "version": "0.0",
            "accountId": self.job_arn.split(":")[4],
            "batchJobName": self.job_name,
            "batchJobArn": self.job_arn,
            "batchModelId": self.model_id,
            "status": self.status,
            "failureMessage": self.message,
            "creationTime": f"{self.created:%b %-d, %Y, %-I:%M:%S %p}",
        }

    def put(self, events: "EventBridgeClient", source: str) -> None:
        """Put the event on the default bus. Raises LocalStageError where the bus does not take it.

        `source` cannot be Bedrock's own, `aws.bedrock`: only AWS sends as `aws.`. Source: EventBridge API reference,
        PutEvents.
        """
        entry: Any = {
            "Source": source,
            "DetailType": JOB_STATE_CHANGE,
            "Resources": [self.job_arn],
            "Detail": json.dumps(self.detail()),
        }
        [taken] = events.put_events(Entries=[entry])["Entries"]
        if "EventId" not in taken:
            raise LocalStageError(
                f"the event bus refused to hear from {source!r} that job {self.job_id!r} is {self.status}: "
                f"{taken.get('ErrorMessage')}"
            )
