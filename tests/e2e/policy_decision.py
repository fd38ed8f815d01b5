"""Says what the emulator's own evaluation makes of a policy, on the interpreter that the emulator runs on.

MiniStack asks a policy wherever one of its services is called or delivers, but not where EventBridge delivers to a
queue or S3 to a function; alarms and what SNS could not deliver it does not send at all. What AWS asks there, this asks
the same evaluation.
"""

import importlib
import json
import sys
from typing import Any


def decide(question: dict[str, Any]) -> str:
    """Return Allow, Deny or ImplicitDeny."""
    evaluator: Any = importlib.import_module("ministack.core.iam_evaluator")
    context = evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=question["action"],
        resource_arn=question["resource"],
        region="ap-northeast-1",
        service_context={
            "aws:sourcearn": question.get("sourceArn", ""),
            "aws:sourceaccount": question.get("sourceAccount", ""),
            "iam:passedtoservice": question.get("passedTo", ""),
            "bedrock:inferenceprofilearn": question.get("inferenceProfile", ""),
        },
    )
    if "service" not in question:
        # What a role may do itself, not who may come to a resource.
        return evaluator.evaluate(context, [evaluator.parse_policy_document(question["policy"])]).decision
    return evaluator.evaluate_resource_policy(question["policy"], context, service=question["service"]).decision


if __name__ == "__main__":
    print(decide(json.load(sys.stdin)))
