"""The picture of the resources: current, and drawn by rules that know none of them."""

from pathlib import Path

import pulumi
import pulumi_aws as aws
import pytest

from local import picture
from local.errors import PictureError

READER = "lambda_function_reader"
LETTERS = "s3_bucket_letters"
MAIL = "kinesis_stream_mail"
ALARMS = "cloudwatch_metric_alarm_late"


class Post(pulumi.ComponentResource):
    """A stream that a function reads, the bucket of its letters, and who is told when one is late or lost."""

    def __init__(self) -> None:
        super().__init__("yorutsuke:test:Post", "post", {})
        self._child = pulumi.ResourceOptions(parent=self)
        letters = aws.s3.Bucket("letters", bucket="yorutsuke-letters-dev", opts=self._child)
        stream = aws.kinesis.Stream("mail", name="yorutsuke-mail-dev", opts=self._child)
        self._settings(letters)
        self._reader(letters, stream)
        self._alarms(stream)
        self.register_outputs({})

    def _settings(self, letters: aws.s3.Bucket) -> None:
        aws.s3.BucketPublicAccessBlock("letters", bucket=letters.bucket, opts=self._child)
        denied = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [letters.arn, pulumi.Output.concat(letters.arn, "/*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = pulumi.Output.json_dumps({"Statement": [denied]})
        aws.s3.BucketPolicy("letters", bucket=letters.bucket, policy=policy, opts=self._child)

    def _reader(self, letters: aws.s3.Bucket, stream: aws.kinesis.Stream) -> None:
        role = aws.iam.Role("reader", name="yorutsuke-reader-dev", assume_role_policy="{}", opts=self._child)
        paths = [pulumi.Output.concat(letters.arn, path) for path in ('/"new"/*', "/old/*")]
        allowed = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": paths}
        policy = pulumi.Output.json_dumps({"Statement": allowed})
        aws.iam.RolePolicy("reader", name="letters", role=role.name, policy=policy, opts=self._child)
        function = aws.lambda_.Function(
            "reader",
            name="yorutsuke-reader-dev",
            role=role.arn,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables={"LETTERS": letters.bucket}),
            opts=self._child,
        )
        aws.lambda_.EventSourceMapping(
            "mail", event_source_arn=stream.arn, function_name=function.arn, opts=self._child
        )

    def _alarms(self, stream: aws.kinesis.Stream) -> None:
        bell = aws.sns.Topic("bell", name="yorutsuke-bell-dev", opts=self._child)
        for name in ("late", "lost"):
            aws.cloudwatch.MetricAlarm(
                name,
                name=f"yorutsuke-{name}-dev",
                comparison_operator="GreaterThanThreshold",
                evaluation_periods=1,
                dimensions={"StreamName": stream.name},
                alarm_actions=[bell.arn],
                opts=self._child,
            )
        body = {"widgets": [{"properties": {"metrics": [["AWS/Kinesis", "Lag", "StreamName", stream.name]]}}]}
        aws.cloudwatch.Dashboard(
            "board",
            dashboard_name="yorutsuke-board-dev",
            dashboard_body=pulumi.Output.json_dumps(body),
            opts=self._child,
        )


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return [line.strip() for line in picture.drawing("sqs", Post).splitlines()]


def test_the_picture_is_current() -> None:
    assert picture.PICTURE.read_text() == picture.picture(), "run nox -s picture, and commit docs/resources.md"


def test_a_resource_that_the_picture_has_never_met_is_drawn(drawn: list[str]) -> None:
    assert f'{MAIL}["<i>kinesis stream</i><br/><b>mail</b>"]' in drawn


def test_what_refers_to_one_resource_is_a_setting_of_it(drawn: list[str]) -> None:
    settings = (
        "<small>public access block</small><br/><small>anybody may not s3:#42; if aws:SecureTransport is false</small>"
    )

    assert f'{LETTERS}["<i>s3 bucket</i><br/><b>letters</b><br/>{settings}"]' in drawn


def test_arrows_say_what_joins_and_what_is_allowed_and_no_others_are_drawn(drawn: list[str]) -> None:
    """The function's role is no box, its environment names what it may read, and a dashboard has no arrows."""
    paths = "#34;new#34;/#42;, old/#42;"

    assert [line for line in drawn if "-->" in line or "---" in line] == [
        f'{MAIL} -->|"event source mapping"| {READER}',
        f'{MAIL} -->|"dimensions"| {ALARMS}',
        f'{READER} -->|"s3:GetObject<br/><small>{paths}</small>"| {LETTERS}',
        f'{ALARMS} -->|"alarm actions"| sns_topic_bell',
    ]


def test_a_role_that_is_only_handed_on_is_a_box_of_its_own() -> None:
    def declare() -> None:
        worker = aws.iam.Role("worker", name="yorutsuke-worker-dev", assume_role_policy="{}")
        own = aws.iam.Role("sender", name="yorutsuke-sender-dev", assume_role_policy="{}")
        variables = {"WORKER": worker.arn}
        environment = aws.lambda_.FunctionEnvironmentArgs(variables=variables)
        aws.lambda_.Function("sender", name="yorutsuke-sender-dev", role=own.arn, environment=environment)

    drawn = [line.strip() for line in picture.drawing("sqs", declare).splitlines()]

    assert [line for line in drawn if "<b>" in line] == [
        'iam_role_worker["<i>iam role</i><br/><b>worker</b>"]',
        'lambda_function_sender["<i>lambda function</i><br/><b>sender</b>"]',
    ]
    assert 'lambda_function_sender -->|"environment"| iam_role_worker' in drawn


def test_alarms_are_one_box_and_a_dashboard_lists_what_it_shows(drawn: list[str]) -> None:
    shown = "<small>reads stream mail</small>"

    assert f'{ALARMS}["<b>2 cloudwatch metric alarms</b><br/>late<br/>lost"]' in drawn
    assert f'cloudwatch_dashboard_board["<i>cloudwatch dashboard</i><br/><b>board</b><br/>{shown}"]' in drawn


def test_two_resources_of_one_type_and_name_are_refused() -> None:
    def declare() -> None:
        for name in ("a", "b"):
            parent = pulumi.ComponentResource(f"yorutsuke:test:{name}", name)
            aws.sns.Topic("bell", opts=pulumi.ResourceOptions(parent=parent))

    with pytest.raises(PictureError, match="two resources of type aws:sns/topic:Topic are named 'bell'"):
        picture.drawing("sqs", declare)


@pytest.mark.parametrize("stale", ["# Resources\n", None])
def test_a_picture_that_is_not_current_is_told_of_and_left(
    stale: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "resources.md"
    if stale:
        page.write_text(stale)
    monkeypatch.setattr(picture, "PICTURE", page)
    monkeypatch.setattr("sys.argv", ["picture", "--check"])

    assert picture.main() == 1
    assert capsys.readouterr().err == (
        "docs/resources.md is not what the program of infra/ gives: run nox -s picture, and commit it.\n"
    )
    assert (page.read_text() if page.exists() else None) == stale


def test_what_the_command_draws_is_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "PICTURE", tmp_path / "resources.md")

    for arguments in ([], ["--check"]):
        monkeypatch.setattr("sys.argv", ["picture", *arguments])
        assert picture.main() == 0
