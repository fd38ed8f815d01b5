"""Starts MiniStack, and corrects it. It runs in the emulator's own environment.

The process also starts a companion, if there is one: the stand-in for Bedrock, which has an environment of its own. The
companion belongs to the emulator's process group. Its input ends when the emulator ends.

MiniStack differs from AWS in two ways that matter here:

- It authorizes BatchExecuteStatement as an action of this name, which IAM does not have. AWS authorizes each statement
  as `dynamodb:PartiQLInsert` or `dynamodb:PartiQLUpdate`, on its table.
- It answers with the same `errorType` for every exception of a function. AWS answers with the name of its class.

Sources: Amazon DynamoDB developer guide, "IAM security policies with PartiQL for DynamoDB"; AWS Lambda developer guide,
"AWS Lambda function errors in Python".
"""

import importlib
import json
import os
import re
import subprocess
import sys
from typing import Any

STATEMENT = re.compile(r'(INSERT INTO|UPDATE) "([^"]+)"')
RAISED = re.compile(r"^(?:\w+\.)*(\w+): ", re.MULTILINE)
"""The last line of a traceback, which begins with the class of the exception."""
ACTIONS = {"INSERT INTO": "dynamodb:PartiQLInsert", "UPDATE": "dynamodb:PartiQLUpdate"}

# Only the emulator's environment has these packages.
iam_actions: Any = importlib.import_module("ministack.core.iam_actions")
lambda_service: Any = importlib.import_module("ministack.services.lambda_svc")
server: Any = importlib.import_module("hypercorn.__main__")
transaction_checks = iam_actions.dynamodb_transaction_checks
execute_function = lambda_service._execute_function_warm  # noqa: SLF001 - MiniStack has no setting for it


def statement_checks(action: str, body: bytes, region: str, account_id: str) -> list[tuple[str, str]]:
    """Return the actions and tables that a request needs, each of which MiniStack then checks."""
    if action != "dynamodb:BatchExecuteStatement":
        return transaction_checks(action, body, region, account_id)
    statements = [STATEMENT.match(each["Statement"]) for each in json.loads(body)["Statements"]]
    return [
        (ACTIONS[found[1]], f"arn:aws:dynamodb:{region}:{account_id}:table/{found[2]}") for found in statements if found
    ]


def execute_with_error_type(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
    """Run a function. If it raised an exception, return the class of the exception as `errorType`."""
    result = execute_function(func, event, request_id)
    if result.get("error") and (raised := RAISED.findall(result.get("log") or "")):
        result["body"]["errorType"] = raised[-1]
    return result


iam_actions.dynamodb_transaction_checks = statement_checks
lambda_service._execute_function_warm = execute_with_error_type  # noqa: SLF001 - the same

if __name__ == "__main__":
    companion = [
        subprocess.Popen(json.loads(command), stdin=subprocess.PIPE)
        for command in [os.environ.pop("YORUTSUKE_COMPANION", "")]
        if command
    ]
    sys.exit(server.main())
