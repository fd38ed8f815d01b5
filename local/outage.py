"""Something of AWS that the handler may not do for a while: a cause that is real, and gone when it is over."""

import json
from collections.abc import Generator
from contextlib import contextmanager

from .night import Night


@contextmanager
def outage(stage: Night, action: str, keys: str) -> Generator[None]:
    """Deny the handler's role an action of S3 on some of the bucket's keys, in a policy of the role's own.

    A Deny goes before every Allow. Source: IAM user guide, "Policy evaluation logic".
    """
    role = stage.outputs["functionRoleArn"].rpartition("/")[2]
    resource = f"arn:aws:s3:::{stage.outputs['imagesBucket']}/{keys}"
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "Outage", "Effect": "Deny", "Action": action, "Resource": resource}],
    }
    name = f"outage-{action.partition(':')[2]}"
    stage.aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    try:
        yield
    finally:
        stage.aws.iam.delete_role_policy(RoleName=role, PolicyName=name)
