from datetime import UTC, datetime

from yorutsuke.log_query import cli_arguments, console_link, job_query

QUERY = (
    "eu-west-1",
    ["/aws/lambda/a", "/aws/lambda/b-1"],
    'fields @timestamp\n| filter jobId = "é1"',
    datetime(2026, 11, 22, 14, 5, tzinfo=UTC),
    datetime(2026, 11, 23, tzinfo=UTC),
)


def test_console_link_has_the_form_of_the_console() -> None:
    assert console_link(*QUERY) == (
        "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#logsV2:logs-insights$3FqueryDetail$3D"
        "~(end~'2026-11-23T00*3a00*3a00.000Z~start~'2026-11-22T14*3a05*3a00.000Z~timeType~'ABSOLUTE~tz~'UTC"
        "~editorString~'fields*20*40timestamp*0a*7c*20filter*20jobId*20*3d*20*22*c3*a91*22"
        "~source~(~'*2faws*2flambda*2fa~'*2faws*2flambda*2fb-1))"
    )


def test_cli_arguments_have_the_query_as_one_word() -> None:
    words = cli_arguments(*QUERY[1:])

    assert words[:2] == ["logs", "start-query"]
    assert words[words.index("--query-string") + 1] == QUERY[2]
    assert words[words.index("--log-group-names") + 1 :][:2] == ["/aws/lambda/a", "/aws/lambda/b-1"]
    assert words[words.index("--start-time") + 1] == "1795356300"


def test_query_escapes_quotes_in_an_id() -> None:
    assert 'jobId = "a\\"b\\\\"' in job_query("intent", 'a"b\\')
