"""Prints the decision of the emulator's policy evaluator. Runs on the emulator's interpreter.

MiniStack evaluates policies for calls and deliveries of its services, with two exceptions: EventBridge's deliveries to
a queue, and S3's deliveries to a function. It does not implement alarm notifications and SNS's dead-letter queues.
For these cases, this script evaluates the policy as AWS would.
"""

import importlib
import json
import sys
from typing import Any


def decide(question: dict[str, Any]) -> str:
    """Return the decision: Allow, Deny or ImplicitDeny."""
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
            "lambda:functionarn": question.get("functionArn", ""),
        },
    )
    if "service" not in question:
        # An identity policy: the permissions of a role. All others are resource policies.
        return evaluator.evaluate(context, [evaluator.parse_policy_document(question["policy"])]).decision
    return evaluator.evaluate_resource_policy(question["policy"], context, service=question["service"]).decision


if __name__ == "__main__":
    print(decide(json.load(sys.stdin)))
