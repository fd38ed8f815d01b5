"""Executes the layer's PartiQL statements on moto, whose own parser does not take parameters in an INSERT."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.exceptions import ClientError

from local.emulator import REGION
from local.partiql import Insert, Update, parse_statement

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def serve_statements(session: boto3.Session) -> None:
    """Answer BatchExecuteStatement for the session's clients from now on."""
    client = boto3.Session(region_name=REGION).client("dynamodb")

    def respond(context: dict[str, Any], **_: object) -> tuple[SimpleNamespace, dict[str, Any]] | None:
        parameters = context.get("statement_parameters")
        return parameters and (SimpleNamespace(status_code=200), execute_statements(client, parameters))

    def keep(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        context["statement_parameters"] = params

    session.events.register("before-parameter-build.dynamodb.BatchExecuteStatement", keep)
    # The handlers of an event's complete name run before those of `before-call`, which replace responses in tests.
    # The stubs declare event handlers without a result.
    session.events.register_last("before-call", cast("Any", respond))


def execute_statements(client: "DynamoDBClient", parameters: dict[str, Any]) -> dict[str, Any]:
    """Execute the statements of BatchExecuteStatement as conditional writes, and return the operation's response."""
    statements = [parse_statement(request) for request in parameters["Statements"]]
    [table] = {statement.table for statement in statements}
    schema = client.describe_table(TableName=table)["Table"].get("KeySchema", [])
    keys = [element["AttributeName"] for element in schema]
    return {"Responses": [_execute(client, statement, keys) for statement in statements]}


def _execute(client: "DynamoDBClient", statement: Insert | Update, keys: list[str]) -> dict[str, Any]:
    try:
        if isinstance(statement, Insert):
            condition = f"attribute_not_exists({keys[0]})"
            client.put_item(TableName=statement.table, Item=statement.item, ConditionExpression=condition)
        else:
            _update(client, statement, keys)
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        codes = {"ValidationException": "ValidationError"}
        if code == "ConditionalCheckFailedException":
            codes[code] = "DuplicateItem" if isinstance(statement, Insert) else "ConditionalCheckFailed"
        return {"Error": {"Code": codes.get(code, code)}}
    return {"TableName": statement.table}


def _update(client: "DynamoDBClient", statement: Update, keys: list[str]) -> None:
    names = {f"#{name}": name for name in (*statement.changes, *statement.where, *statement.missing)}
    values = {
        **{f":new_{name}": value for name, value in statement.changes.items()},
        **{f":old_{name}": value for name, value in statement.where.items()},
    }
    conditions = [*(f"#{name} = :old_{name}" for name in statement.where)]
    conditions += [f"attribute_not_exists(#{name})" for name in statement.missing]
    client.update_item(
        TableName=statement.table,
        Key={name: statement.where[name] for name in keys},
        UpdateExpression="SET " + ", ".join(f"#{name} = :new_{name}" for name in statement.changes),
        ConditionExpression=" AND ".join(conditions),
        ExpressionAttributeNames=names,
        ExpressionAttributeValues=values,
    )
