"""Starts MiniStack with IAM checks for PartiQL statements. It runs in the emulator's own environment.

The process also starts a companion, if there is one: the stand-in for Bedrock, which has an environment of its own. The
companion belongs to the emulator's process group. Its input ends when the emulator ends.

MiniStack authorizes BatchExecuteStatement as an action of this name, which IAM does not have. AWS authorizes each
statement as `dynamodb:PartiQLInsert` or `dynamodb:PartiQLUpdate`, on its table.

Source: Amazon DynamoDB developer guide, "IAM security policies with PartiQL for DynamoDB".
"""

import importlib
import json
import os
import re
import subprocess
import sys
from typing import Any

STATEMENT = re.compile(r'(INSERT INTO|UPDATE) "([^"]+)"')
ACTIONS = {"INSERT INTO": "dynamodb:PartiQLInsert", "UPDATE": "dynamodb:PartiQLUpdate"}

# Only the emulator's environment has these packages.
iam_actions: Any = importlib.import_module("ministack.core.iam_actions")
server: Any = importlib.import_module("hypercorn.__main__")
transaction_checks = iam_actions.dynamodb_transaction_checks


def statement_checks(action: str, body: bytes, region: str, account_id: str) -> list[tuple[str, str]]:
    """Return the actions and tables that a request needs, each of which MiniStack then checks."""
    if action != "dynamodb:BatchExecuteStatement":
        return transaction_checks(action, body, region, account_id)
    statements = [STATEMENT.match(each["Statement"]) for each in json.loads(body)["Statements"]]
    return [
        (ACTIONS[found[1]], f"arn:aws:dynamodb:{region}:{account_id}:table/{found[2]}") for found in statements if found
    ]


iam_actions.dynamodb_transaction_checks = statement_checks

if __name__ == "__main__":
    companion = [
        subprocess.Popen(json.loads(command), stdin=subprocess.PIPE)
        for command in [os.environ.pop("YORUTSUKE_COMPANION", "")]
        if command
    ]
    sys.exit(server.main())
