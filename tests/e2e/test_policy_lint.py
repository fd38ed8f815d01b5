"""The linter finds what the deployed policies must not have, such as actions that AWS does not."""

from typing import Any

import pytest

from .policy_lint import problems

BUCKET = "arn:aws:s3:::images"
QUEUE = "arn:aws:sqs:ap-northeast-1:123456789012:queue"
TABLE = "arn:aws:dynamodb:ap-northeast-1:123456789012:table/jobs"
LOG = "arn:aws:logs:ap-northeast-1:123456789012:log-group:/aws/lambda/handler"


def _statement(action: str, resource: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": [action], "Resource": [resource], **more}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (_statement("s3:HeadObject", f"{BUCKET}/uploads/*"), "s3:HeadObject is no action of AWS's"),
        (_statement("bedrok:InvokeModel", BUCKET), "bedrok:InvokeModel is no action of AWS's"),
        (_statement("s3:Get*", f"{BUCKET}/*"), "s3:Get* allows more than one action"),
        (_statement("s3:GetObject", "arn:aws:s3:::*/*"), "arn:aws:s3:::*/* may be anybody's"),
        (
            _statement("dynamodb:BatchGetItem", "arn:aws:dynamodb:*:*:table/jobs"),
            "arn:aws:dynamodb:*:*:table/jobs may be anybody's",
        ),
        (
            {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": BUCKET},
            "NotResource is not for a statement here",
        ),
        ({"Effect": "Deny", "Action": "s3:Delet", "Resource": BUCKET}, "s3:Delet is no action of AWS's"),
        (
            {
                "Effect": "Deny",
                "Action": "s3:*Acl",
                "Resource": BUCKET,
                "Condition": {"Bool": {"aws:SecureTransprt": "false"}},
            },
            "s3:*Acl has no condition key aws:SecureTransprt",
        ),
        (_statement("s3:GetObject", BUCKET), f"s3:GetObject is not about {BUCKET}"),
        (_statement("s3:ListBucket", f"{BUCKET}/*"), f"s3:ListBucket is not about {BUCKET}/*"),
        (_statement("dynamodb:UpdateItem", f"{TABLE}/index/i"), f"dynamodb:UpdateItem is not about {TABLE}/index/i"),
        (_statement("logs:PutLogEvents", LOG), f"logs:PutLogEvents is not about {LOG}"),
        (_statement("sqs:SendMessage", TABLE), f"sqs:SendMessage is not about {TABLE}"),
        (
            _statement("sqs:SendMessage", QUEUE, Condition={"ArnEquals": {"aws:SorceArn": "arn"}}),
            "sqs:SendMessage has no condition key aws:SorceArn",
        ),
        (
            _statement("s3:GetObject", f"{BUCKET}/*", Condition={"StringLike": {"s3:prefix": "uploads/*"}}),
            "s3:GetObject has no condition key s3:prefix",
        ),
    ],
)
def test_what_is_wrong_is_found(statement: dict[str, Any], said: str) -> None:
    assert list(problems(statement)) == [said]


@pytest.mark.parametrize(
    "statement",
    [
        _statement("s3:GetObject", f"{BUCKET}/uploads/*"),
        _statement("s3:ListBucket", BUCKET, Condition={"StringLike": {"s3:prefix": "uploads/*"}}),
        _statement("dynamodb:Query", f"{TABLE}/index/jobIdIndex"),
        _statement("logs:PutLogEvents", f"{LOG}:log-stream:*"),
        _statement("sqs:SendMessage", QUEUE, Condition={"ArnEquals": {"AWS:SourceArn": "arn"}}),
        {"Effect": "Deny", "Action": "s3:*", "Resource": BUCKET},
    ],
)
def test_what_is_right_is_left_alone(statement: dict[str, Any]) -> None:
    assert list(problems(statement)) == []
