"""Output files of hostile records: arbitrary bytes, records with arbitrary values, and records damaged byte by byte.

Each output file has many records, so that one Hypothesis example tests dozens of records.
"""

import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from botocore.response import StreamingBody
from hypothesis import strategies as st

from tests.unit.layer.samples import EXTRACTED_AT, receipt_text, simple_line
from yorutsuke_common.records.lines import BOM, MAX_LINE_BYTES

EVENTS = Path(__file__).parents[1] / "events" / "bedrock"
STATE_CHANGE = EVENTS / "job_state_change.json"
MAX_LINES = 48
"""Maximum number of hostile records in one output file."""
MAX_READS = 1_000
"""Maximum number of reads of one output file. Limits the duration of a test."""
REPETITION = re.compile(rb"(.{1,12}?)\1{31,}", re.DOTALL)
"""A piece of 1 to 12 bytes that is repeated at least 32 times."""

CONTROL_IMAGE = "control"
CONTROL_LINE = simple_line(receipt_text(), CONTROL_IMAGE)
"""A valid record among the hostile ones. The other records must not change its result."""


@dataclass(frozen=True, repr=False)
class HostileOutput:
    """An output file, the sizes of the pieces that the network delivers, and the maximum length of a line."""

    content: bytes
    read_bytes: Sequence[int] = (MAX_LINE_BYTES,)
    max_line_bytes: int = MAX_LINE_BYTES

    def __repr__(self) -> str:
        return f"HostileOutput.from_case({self.as_case()})"

    def as_case(self) -> dict[str, Any]:
        """Return the output file as a corpus case: its bytes as Latin-1 texts, each with its number of repetitions."""
        pieces: list[tuple[str, int]] = []
        kept = 0
        for run in REPETITION.finditer(self.content):
            before, unit = self.content[kept : run.start()], run[1]
            pieces += [(before.decode("latin-1"), 1), (unit.decode("latin-1"), len(run[0]) // len(unit))]
            kept = run.end()
        pieces.append((self.content[kept:].decode("latin-1"), 1))
        return {
            "pieces": [piece for piece in pieces if piece[0]],
            "read_bytes": list(self.read_bytes),
            "max_line_bytes": self.max_line_bytes,
        }

    @classmethod
    def from_case(cls, case: Mapping[str, Any]) -> "HostileOutput":
        """Return the output file of a corpus case."""
        content = b"".join(text.encode("latin-1") * times for text, times in case["pieces"])
        return cls(content, case["read_bytes"], case["max_line_bytes"])


@dataclass
class Bucket:
    """An S3 client with one output file to read. It stores the object that is written."""

    output: HostileOutput
    written: bytes = field(default=b"")

    def get_object(self, **_: str) -> dict[str, Any]:
        """Return the output file in a body of botocore's class."""
        body = StreamingBody(_Network(self.output), len(self.output.content))
        return {"ETag": '"etag-1"', "LastModified": EXTRACTED_AT, "Body": body}

    def put_object(self, **request: Any) -> None:
        """Store the body."""
        self.written = request["Body"]


class _Network(io.BytesIO):
    """A connection that returns fewer bytes than requested."""

    def __init__(self, output: HostileOutput) -> None:
        super().__init__(output.content)
        # Megabytes in single bytes take minutes. A short output file tests the same code.
        least = len(output.content) // MAX_READS + 1
        self._sizes = itertools.cycle(max(size, least) for size in output.read_bytes)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes: at least one before the end of the file."""
        return super().read(min(size or -1, next(self._sizes)))


# Values


@dataclass(frozen=True)
class Literal:
    """A text in place of a value. The text may be invalid JSON."""

    text: str


def _nested(opening: str, closing: str) -> list[str]:
    # 200 is the maximum depth of the parser. A dead letter nests its record one level deeper.
    return [opening * depth + "0" + closing * depth for depth in (3, 190, *range(194, 204), 260)]


NUMBERS = [
    *("0", "1", "-1", "-0", "-0.0", "0.1", "1280.50", "1e3", "1E-38", "1e37", "1e38", "1e125", "1e126", "1e-130"),
    *("9" * 38, "9" * 39, "9" * 50, "0." + "9" * 50, "1" + "0" * 49, "1280." + "0" * 40, "9" * 400, "9" * 5_000),
    *("1e400", "-1e400", "1e-400", "1e999999", "1e9999999999999999999", "1e-9999999999999999999", "5e-324"),
    *("NaN", "Infinity", "-Infinity", "nan", "01", "+1", ".5", "1.", "0x10", "1_000", "1,280", "\u0661", "¥1280"),
    *("9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 4_300, "-" + "9" * 4_300),
]
WORDS = ["null", "true", "false", "[]", "{}", "", "undefined", "'x'", '"', "[1,", "/**/1", '{"a": 1, "a": 2}']
DATES = [
    "2026-02-30",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "２０２６-01-01",
    "2026-1-1",
    "20260101",
    "2024-02-29",
    "1999-12-31",
    "2000-01-01",
    "2026-11-23",
    "2026-11-24",
]
TEXTS = [
    *(
        "",
        " ",
        "\u3000",
        "\x1c",
        "x",
        "../../etc/passwd",
        "uploads/../a b+c%2F.jpg",
        "喫茶ほし",
        "\u202eabc\u05d0",
        "👩\u200d🚀",
    ),
    *(
        "\ufeff",
        "\x00",
        "\x01\x1f\x7f",
        "\x85\u2028\u2029",
        "\ufffe\uffff",
        "\r\n",
        "\\",
        '"',
        "```",
        "</Key>",
        "\ud800",
    ),
    *("\udc00\ud800", "expense", "income", "max_tokens", "LENGTH", "img-00002"),
    *("x" * 1_000, "x" * 1_001, "x" * 1_024, "é" * 512, "é" * 513, "画" * 1_000, "x" * 3_072, "x" * 10_001),
    *("\x00" * 1_024, "\x01" * 10_000, '"' * 20_000, "画" * 10_000, "\U0001f600" * 10_000),
]
LITERALS = [
    *NUMBERS,
    *WORDS,
    *map(json.dumps, DATES),
    *map(json.dumps, TEXTS),
    *(f'"{text}"' for text in TEXTS),
    *(r'"\ud83d\ude00"', r'"\ud800\u0041"', r'"\u00"', r'"\x00"', '"\\', r'"\/"'),
    *_nested("[", "]"),
    *_nested('{"a":', "}"),
    *("[" * 300, '{"a":' * 300, "[" + "{}," * 100 + "1]", "{" + '"a": 1, ' * 100 + '"a": 2}'),
]
HUGE = [
    *("[" * 10_000, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000, '{"a":' * 10_000 + "0" + "}" * 10_000),
    *(
        json.dumps("x" * 400_000),
        json.dumps("画" * 140_000),
        '"' + "画" * 140_000 + '"',
        "9" * 400_000,
        "[1" + ",1" * 9_000 + "]",
    ),
]


def _json(value: Any, *, ascii_only: bool) -> str:
    """Return a value as JSON text. Literals in the value are inserted unchanged."""
    match value:
        case Literal(text):
            return text
        case dict():
            members = cast("dict[Any, Any]", value).items()
            inner = (f"{_json(k, ascii_only=ascii_only)}: {_json(v, ascii_only=ascii_only)}" for k, v in members)
            return "{" + ", ".join(inner) + "}"
        case list():
            return "[" + ", ".join(_json(item, ascii_only=ascii_only) for item in cast("list[Any]", value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=ascii_only)


Origin = tuple[str | int, ...]


def _places(value: Any) -> Iterator[Origin]:
    """Yield the places of all values inside a value. The first place is that of the value itself."""
    yield ()
    members: Any = ()
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        members = enumerate(cast("list[Any]", value))
    for key, inner in members:
        for place in _places(inner):
            yield key, *place


def _at(value: Any, place: Origin) -> Any:
    for key in place:
        value = value[key]
    return value


def _put(value: Any, place: Origin, new: Any) -> Any:
    """Return a copy of a value with a new value in the given place."""
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _put(value[place[0]], place[1:], new)
    return copy


def _corrupted(value: Any, place: Origin, method: str, literal: str) -> Any:
    """Return a copy of a value that is corrupted in one place."""
    parent = _at(value, place[:-1])
    if method == "instead" or not place or not isinstance(parent, dict):
        return _put(value, place, Literal(literal))
    members = cast("dict[Any, Any]", parent)
    key, name = place[-1], _json(place[-1], ascii_only=True)
    own = _json(members[key], ascii_only=True)
    match method:
        case "missing":
            new = {k: v for k, v in members.items() if k != key}
        case "renamed":
            new = {Literal(literal) if k == key else k: v for k, v in members.items()}
        case "before":
            new = {**members, key: Literal(f"{literal}, {name}: {own}")}
        case _:
            new = {**members, key: Literal(f"{own}, {name}: {literal}")}
    return _put(value, place[:-1], new)


@dataclass(frozen=True)
class Sample:
    """A real record or receipt, and the places in it that can be corrupted."""

    value: Any
    places: st.SearchStrategy[Origin]
    reply: Origin | None

    @classmethod
    def from_value(cls, value: Any) -> "Sample":
        """Return the sample of a value. Its reply is the text that holds a receipt."""
        places = tuple(_places(value))
        replies = (place for place in places if str(_at(value, place)).startswith('{"amount"'))
        return cls(value, st.sampled_from(places), next(replies, None))


CORRUPTIONS = st.sampled_from(
    # Each element combines a method and a literal, because each draw takes Hypothesis a long time.
    [
        *itertools.product(["instead"], [*LITERALS * 12, *HUGE]),
        *itertools.product(["missing", "renamed", "before", "behind"], LITERALS),
    ]
)


def _corrupt(draw: st.DrawFn, sample: Sample, value: Any, times: int) -> Any:
    """Return a value with the sample's structure that is corrupted in `times` places."""
    for time in range(times):
        places = st.sampled_from(tuple(_places(value))) if time else sample.places
        method, literal = draw(CORRUPTIONS)
        value = _corrupted(value, draw(places), method, literal)
    return value


# Records

RECEIPT = Sample.from_value(json.loads(receipt_text()))
SAMPLES = [
    Sample.from_value(json.loads(simple_line(receipt_text()))),
    *(
        Sample.from_value(json.loads(path.read_text()))
        for path in sorted(EVENTS.glob("*.json"))
        if path != STATE_CHANGE
    ),
    Sample.from_value(json.loads((EVENTS / "nova.json").read_text().replace("end_turn", "max_tokens"))),
]
REPLIES = [
    *["{}"] * 8,
    *("```json\n{}\n```", "```\n{}```", "```json\r\n{}\r\n```\n", " \n{}\t", "\ufeff{}"),
    *("Here it is:\n```json\n{}\n```", "```json\n{}", "{} {}", "[{}]", "", "```", "\x00{}", "{}\ud800"),
]
FORMS = st.sampled_from(list(itertools.product(SAMPLES, REPLIES, (True, False))))
# More kinds of errors are possible in the amount than in any other field.
AMOUNTS = st.sampled_from(["1280"] * len(NUMBERS) + NUMBERS)
TIMES = st.sampled_from([(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)])
ODD_LINES = [
    *(
        b"{}",
        b"[]",
        b"null",
        b"0",
        b'""',
        b"{",
        b"[",
        b'"',
        b"\x00",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        BOM,
        BOM + b"{}",
    ),
    *(b" ", b"\t\r", b"\x0b\x0c", b"\x1c", b"\xe2\x80\xa8", b"\xc2\x85", b"\xef\xbb", b"\xff\xfe{\x00}\x00", b"NaN"),
    *(b"[" * 10_000, b"x" * 40_000, b"\xff" * 40_000, b"\x01" * 40_000, b'"' * 40_000, b" " * 3_000),
]


@st.composite
def _records(draw: st.DrawFn) -> bytes:
    """Return a realistic record of any layout and model family, corrupted in up to two places."""
    sample, reply, ascii_only = draw(FORMS)
    in_receipt, in_record = draw(TIMES)
    record = sample.value
    if sample.reply:
        receipt = _corrupt(draw, RECEIPT, {**RECEIPT.value, "amount": Literal(draw(AMOUNTS))}, in_receipt)
        record = _put(record, sample.reply, reply.replace("{}", _json(receipt, ascii_only=ascii_only)))
    record = _corrupt(draw, sample, record, in_record)
    return _json(record, ascii_only=ascii_only).encode("utf-8", "surrogatepass")


FRAGMENTS = st.one_of(
    st.sampled_from(
        [b"\n", b"\r", b"\x00", b"\x1f", b"\xff", b"\xed\xa0\x80", b"\\ud800", b'"', b"\\", b"{", b"[", b","]
    ),
    st.binary(min_size=1, max_size=4),
)
DAMAGES = st.sampled_from(["overwritten", "inserted", "flipped", "cut", "cut off", "repeated", "spliced"])


@st.composite
def _damaged_records(draw: st.DrawFn) -> bytes:
    """Return a record damaged byte by byte, regardless of its structure."""
    line = draw(_records())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, 4_095)) % (len(line) + 1)
        head, tail = line[:at], line[at:]
        match draw(DAMAGES):
            case "overwritten":
                fragment = draw(FRAGMENTS)
                line = head + fragment + tail[len(fragment) :]
            case "inserted":
                line = head + draw(FRAGMENTS) + tail
            case "flipped":
                line = head + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in tail[:1]) + tail[1:]
            case "cut":
                line = head + tail[draw(st.integers(1, 64)) :]
            case "cut off":
                line = head
            case "repeated":
                line = head + tail[:16] * draw(st.integers(2, 40)) + tail[16:]
            case _:
                other = draw(_records())
                line = head + other[at % (len(other) + 1) :]
    return line


KINDS = st.sampled_from(
    [*[_records()] * 12, _damaged_records(), _damaged_records(), st.sampled_from(ODD_LINES), st.binary(max_size=60)]
)
LINES = KINDS.flatmap(lambda kind: kind)


# Output files

LINE_ENDS = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b" \n\t\n"])
BEGINNINGS = st.sampled_from([b"", b"", b"", BOM, b"\n", BOM + b"\n", BOM + BOM, BOM[:2]])
READ_BYTES = st.lists(st.sampled_from([MAX_LINE_BYTES, 1, 2, 3, 7, 64, 500, 4_096]), min_size=1, max_size=3)
LINE_BOUNDS = st.sampled_from([*[MAX_LINE_BYTES] * 8, 2_000, len(CONTROL_LINE) + len(BOM) + 1])


@st.composite
def hostile_outputs(draw: st.DrawFn) -> HostileOutput:
    """Return an output file of up to 48 hostile records. It contains the control line unless it is empty."""
    count = draw(st.integers(0, MAX_LINES))
    lines = draw(st.lists(LINES, min_size=count, max_size=count))
    if lines:
        lines.insert(draw(st.integers(0, count)), CONTROL_LINE)
    end = draw(LINE_ENDS)
    content = draw(BEGINNINGS) + end.join(lines) + (end if draw(st.booleans()) else b"")
    return HostileOutput(content, tuple(draw(READ_BYTES)), draw(LINE_BOUNDS))
