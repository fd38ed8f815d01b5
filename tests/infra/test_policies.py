"""What the source of the policies must be like, beyond what they grant."""

import ast
import inspect
import io
import tokenize

from yorutsuke_infra import policies


def test_no_wildcard_is_without_a_reason_beside_it() -> None:
    """On its line, or on the one above."""
    source = inspect.getsource(policies)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    reasons = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    wildcards = {
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "*" in node.value
    }

    assert wildcards
    assert [line for line in sorted(wildcards) if reasons.isdisjoint({line, line - 1})] == []
