"""Tests of the policy linter, with statements that the deployed policies must not contain."""

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
    ("statement", "problem"),
    [
        (_statement("s3:HeadObject", f"{BUCKET}/uploads/*"), "s3:HeadObject is not an AWS action"),
        (_statement("bedrok:InvokeModel", BUCKET), "bedrok:InvokeModel is not an AWS action"),
        (_statement("s3:Get*", f"{BUCKET}/*"), "s3:Get* allows more than one action"),
        (_statement("s3:GetObject", "arn:aws:s3:::*/*"), "arn:aws:s3:::*/* matches other owners"),
        (
            _statement("dynamodb:BatchGetItem", "arn:aws:dynamodb:*:*:table/jobs"),
            "arn:aws:dynamodb:*:*:table/jobs matches other owners",
        ),
        (
            _statement("sqs:SendMessage", "arn:aws:sqs:ap-northeast-1:123456789012:*"),
            "arn:aws:sqs:ap-northeast-1:123456789012:* matches other owners",
        ),
        (_statement("sqs:SendMessage", "*"), "* matches other owners"),
        (_statement("logs:PutRetentionPolicy", "*"), "* matches other owners"),
        (
            {"Effect": "Allow", "Action": "s3:GetObject", "NotResource": BUCKET},
            "NotResource is not allowed in a statement",
        ),
        ({"Effect": "Deny", "Action": "s3:Delet", "Resource": BUCKET}, "s3:Delet is not an AWS action"),
        (
            {
                "Effect": "Deny",
                "Action": "s3:*Acl",
                "Resource": BUCKET,
                "Condition": {"Bool": {"aws:SecureTransprt": "false"}},
            },
            "s3:*Acl has no condition key aws:SecureTransprt",
        ),
        (_statement("s3:GetObject", BUCKET), f"s3:GetObject does not apply to {BUCKET}"),
        (_statement("s3:ListBucket", f"{BUCKET}/*"), f"s3:ListBucket does not apply to {BUCKET}/*"),
        (
            _statement("dynamodb:UpdateItem", f"{TABLE}/index/i"),
            f"dynamodb:UpdateItem does not apply to {TABLE}/index/i",
        ),
        (_statement("logs:PutLogEvents", LOG), f"logs:PutLogEvents does not apply to {LOG}"),
        (_statement("sqs:SendMessage", TABLE), f"sqs:SendMessage does not apply to {TABLE}"),
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
def test_linter_reports_a_wrong_statement(statement: dict[str, Any], problem: str) -> None:
    assert list(problems(statement)) == [problem]


@pytest.mark.parametrize(
    "statement",
    [
        _statement("s3:GetObject", f"{BUCKET}/uploads/*"),
        _statement("s3:ListBucket", BUCKET, Condition={"StringLike": {"s3:prefix": "uploads/*"}}),
        _statement("dynamodb:Query", f"{TABLE}/index/jobIdIndex"),
        _statement("logs:PutLogEvents", f"{LOG}:log-stream:*"),
        _statement("sqs:SendMessage", QUEUE, Condition={"ArnEquals": {"AWS:SourceArn": "arn"}}),
        _statement("sqs:DeleteQueue", "arn:aws:sqs:ap-northeast-1:123456789012:yorutsuke-*-dev"),
        _statement("logs:DescribeLogGroups", "*"),
        {"Effect": "Deny", "Action": "s3:*", "Resource": BUCKET},
    ],
)
def test_linter_accepts_a_correct_statement(statement: dict[str, Any]) -> None:
    assert list(problems(statement)) == []
