import json
from typing import Any

import pytest

from yorutsuke.errors import UndecidedError
from yorutsuke.policy_document import Delivery, lets

TOPIC = "arn:aws:sns:eu-west-1:123456789012:outputs"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:queue"
DELIVERY = Delivery("sns.amazonaws.com", TOPIC, "sqs:SendMessage", QUEUE)
ALLOW = {
    "Effect": "Allow",
    "Principal": {"Service": "sns.amazonaws.com"},
    "Action": ["sqs:SendMessage"],
    "Resource": [QUEUE],
    "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}},
}


def _lets(*statements: dict[str, Any]) -> bool:
    return lets(json.dumps({"Version": "2012-10-17", "Statement": [*statements]}), DELIVERY)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Action": "SQS:*", "Resource": "*", "Principal": "*"},
        {"Condition": {"ArnLike": {"aws:SourceArn": [f"{TOPIC}-2", TOPIC[:-3] + "*"]}}},
        {"Condition": {"StringEquals": {"aws:sourceaccount": "123456789012"}}},
    ],
)
def test_who_fits_a_statement_may_deliver(changes: dict[str, Any]) -> None:
    assert _lets({**ALLOW, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"Principal": {"Service": "events.amazonaws.com"}},
        {"Action": ["sqs:ReceiveMessage"]},
        {"Resource": [f"{QUEUE}-dlq"]},
        {"Condition": {"ArnEquals": {"aws:SourceArn": f"{TOPIC}-2"}}},
        {"Condition": {"ArnEquals": {"aws:SourceArn": TOPIC}, "Bool": {"aws:SecureTransport": "true"}}},
    ],
)
def test_who_does_not_fit_may_not(changes: dict[str, Any]) -> None:
    assert not _lets({**ALLOW, **changes})


def test_a_refusal_goes_before_what_is_allowed_and_nothing_said_allows_nothing() -> None:
    assert not _lets(ALLOW, {**ALLOW, "Effect": "Deny", "Principal": "*"})
    assert not _lets()


def test_one_statement_may_stand_alone() -> None:
    assert lets(json.dumps({"Statement": ALLOW}), DELIVERY)
    assert not lets(json.dumps({"Statement": {**ALLOW, "Effect": "Deny"}}), DELIVERY)


@pytest.mark.parametrize("name", ["Principal", "Action", "Resource"])
def test_what_is_said_by_what_it_is_not_about_is_not_decided(name: str) -> None:
    statement = {**ALLOW, "Sid": "Others", f"Not{name}": ALLOW[name]}
    del statement[name]

    with pytest.raises(UndecidedError, match=f"statement 'Others' of the policy has no {name}: what it means"):
        _lets(ALLOW, statement)
