import io
import json
from decimal import Decimal

import pytest
import typer

from yorutsuke.console import printable
from yorutsuke.errors import RefusedError
from yorutsuke.screen import Screen, facts, quantity, table


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
    Screen().show({}, table("[red]t[/red]", ["a"], [["\x1b[31m[bold]b:smile:"]]), facts("f", {"name": "\x07[/]"}))

    shown = capsys.readouterr().out
    assert "[red]t[/red]" in shown
    assert "\\x1b[31m[bold]b:smile:" in shown
    assert "\\x07[/]" in shown


@pytest.mark.parametrize("total", [0, 5])
def test_progress_title_is_escaped(monkeypatch: pytest.MonkeyPatch, total: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")

    with Screen().progress("[red]Reading[/] :smile: \x1b]0;title\x07\u202e", total):
        pass

    assert r"[red]Reading[/] :smile: \x1b]0;title\x07\u202e" in terminal.getvalue()


def test_each_changed_state_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen().states("Job \x1b[31m") as show:
        for state in ("waiting", "waiting", "written", "waiting"):
            show(state)

    lines = [r"Job \x1b[31m: waiting", r"Job \x1b[31m: written", r"Job \x1b[31m: waiting"]
    assert capsys.readouterr().err.splitlines() == lines


def test_terminal_shows_states_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")

    with Screen().states("Job") as show:
        show("first")
        show("last \x1b]0;title\x07")

    assert r"Job: last \x1b]0;title\x07" in terminal.getvalue()


@pytest.mark.parametrize("text", ["喫茶星 é", "星　野\xa0ｱ", "a\\b"])
def test_printable_text_is_unchanged(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("character", "shown"),
    [("\n", r"\n"), ("\t", r"\t"), ("\x7f", r"\x7f"), ("\x85", r"\x85"), ("\u200b", r"\u200b"), ("\ud800", r"\ud800")],
)
def test_invisible_character_is_escaped(character: str, shown: str) -> None:
    assert printable(f"a{character}b") == f"a{shown}b"


def test_each_line_of_a_message_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().say("first", "second\nforged")

    assert capsys.readouterr().err == "first\nsecond\\nforged\n"


def test_quantity_has_the_singular_of_one_only() -> None:
    assert [quantity(count, "message") for count in (0, 1, 2)] == ["0 messages", "1 message", "2 messages"]


def test_confirm_is_refused_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(RefusedError, match=r"\(Do it\?\), and standard input is not a terminal. Pass --yes"):
        Screen().confirm("Do it?", yes=False)
    Screen().confirm("Do it?", yes=True)


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "yep\n"])
@pytest.mark.parametrize("json_option", [False, True])
def test_confirm_exits_after_any_other_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, answer: str, json_option: bool
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    with pytest.raises(typer.Exit) as ended:
        Screen(json=json_option).confirm("Do it?", yes=False)

    out, err = capsys.readouterr()
    assert ended.value.exit_code == 0
    assert (out, err) == ('{"confirmed": false}\n' if json_option else "", "Do it? [y/N] Nothing was changed.\n")


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_confirm_accepts_yes(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))

    Screen().confirm("Do it?", yes=False)
