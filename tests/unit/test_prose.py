from pathlib import Path

import pytest

from tests.prose import document_texts, name_problems, problems, source_texts

LONG = " ".join(["word"] * 26)


def _document_problems(path: Path, content: str) -> list[str]:
    path.write_text(content)
    return [f"{text.line} {problem}" for text in document_texts(path) for problem in problems(text)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("A title\n=======\n\nIt is no table.", "4 has 'is no': state what is true"),
        ("# What a stage costs", "1 starts with 'What': name the thing"),
        ("| where | effect |\n|---|---|\n| a | b |", "1 starts with 'where': name the thing"),
        (f"First. {LONG}.", "1 has a sentence of 26 words, more than 25: word word word word word word …"),
    ],
)
def test_document_violation_is_reported_with_its_line(tmp_path: Path, content: str, problem: str) -> None:
    assert _document_problems(tmp_path / "page.md", content) == [problem]


@pytest.mark.parametrize(
    "content",
    ["Run `what is no name`, which\nis not checked.", "    what is no prose", f"- {LONG[:60]}.\n- {LONG[:60]}."],
)
def test_code_and_short_sentences_pass(tmp_path: Path, content: str) -> None:
    assert _document_problems(tmp_path / "page.md", content) == []


def test_docstrings_and_comments_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('"""Who calls this."""\n# There is none\n# nobody reads.\nLIMIT = 1\n"""What it is."""\n')

    found = [(text.line, problem.partition(":")[0]) for text in source_texts(path) for problem in problems(text)]

    assert found == [(1, "starts with 'Who'"), (5, "starts with 'What'"), (2, "has 'is none'"), (2, "has 'nobody'")]


def test_long_test_names_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "test_module.py"
    path.write_text("def test_a_b_c_d_e_f_g_h_i(): ...\ndef test_what_holds(): ...\ndef test_name_holds(): ...\n")

    assert list(name_problems(path)) == [
        (1, "test_a_b_c_d_e_f_g_h_i has 9 words, more than 8"),
        (2, "test_what_holds starts with 'what': name the subject"),
    ]
