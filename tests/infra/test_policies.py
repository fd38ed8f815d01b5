"""What the source of the policies must be like, beyond what they grant."""

import inspect
import io
import tokenize

from yorutsuke_infra import policies

LINES_BESIDE = 4


def test_no_wildcard_is_without_a_reason_beside_it() -> None:
    tokens = list(tokenize.generate_tokens(io.StringIO(inspect.getsource(policies)).readline))
    reasons = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    wildcards = [token for token in tokens if token.type == tokenize.STRING and token.string.endswith('*"')]

    assert wildcards
    assert [
        f"line {token.start[0]}: {token.string}"
        for token in wildcards
        if reasons.isdisjoint(range(token.start[0] - LINES_BESIDE, token.start[0] + 1))
    ] == []
