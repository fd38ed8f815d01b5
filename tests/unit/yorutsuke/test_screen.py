import io
import json
from decimal import Decimal

import pytest

from yorutsuke.errors import RefusedError
from yorutsuke.screen import Screen, facts, printable, quantity, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_output_is_one_object_with_exact_decimals(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(json=True)

    screen.say("working")
    screen.preview(table("t", ["a"], [["b"]]))
    screen.show({"amount": Decimal("0.1000000000000000000000000000000000001")}, table("t", ["a"], [["b"]]))

    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"amount": "0.1000000000000000000000000000000000001"}
    assert "working" in captured.err


def test_markup_and_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().show({}, table("[red]t[/red]", ["a"], [["\x1b[31m[bold]b"]]), facts("f", {"name": "\x07[/]"}))

    shown = capsys.readouterr().out
    assert "[red]t[/red]" in shown
    assert "\\x1b[31m[bold]b" in shown
    assert "\\x07[/]" in shown


def test_printable_text_is_unchanged() -> None:
    assert printable("喫茶星 é\nb") == "喫茶星 é\nb"


def test_quantity_has_the_singular_of_one_only() -> None:
    assert [quantity(count, "message") for count in (0, 1, 2)] == ["0 messages", "1 message", "2 messages"]


def test_confirm_is_refused_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(RefusedError, match=r"\(Do it\?\), and standard input is not a terminal. Pass --yes"):
        Screen().confirm("Do it?", yes=False)
    Screen().confirm("Do it?", yes=True)


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yep\n"])
def test_confirm_refuses_any_other_answer_than_yes(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    with pytest.raises(RefusedError, match="Nothing was changed"):
        Screen().confirm("Do it?", yes=False)


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_confirm_accepts_yes(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    Screen().confirm("Do it?", yes=False)
