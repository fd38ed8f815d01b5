"""The records of a job's input, on disk: memory holds one of them at a time, however large the input is."""

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

ALPHANUMERIC = "abcdefghijklmnopqrstuvwxyz0123456789"
RECORD_ID_CHARACTERS = 11


class UnusableInputError(Exception):
    """The input is not what a job can be made of."""


class Records:
    """Records in any order. Each is a JSON object with `recordId`, a string, and `modelInput`, an object.

    Source: Amazon Bedrock user guide, "Format and upload your batch inference data".
    """

    def __init__(self, file: IO[bytes], places: list[tuple[int, int]]) -> None:
        self._file = file
        # Where each record begins, and the number of its line.
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def shuffled(self, dice: random.Random) -> Iterator[dict[str, Any]]:
        """Yield the records in another order than the input has them: Bedrock promises none."""
        for place, number in dice.sample(self._places, len(self._places)):
            self._file.seek(place)
            yield _record(self._file.readline(), number)


@contextmanager
def read_records(body: Any) -> Generator[Records]:
    """Give the records of a body that is read as a stream. Raises UnusableInputError at a line that is none."""
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(body, file)
        file.seek(0)
        places: list[tuple[int, int]] = []
        place = 0
        for number, line in enumerate(file, 1):
            if line.strip():
                _record(line, number)
                places.append((place, number))
            place += len(line)
        yield Records(file, places)


def _record(line: bytes, number: int) -> dict[str, Any]:
    """Return the record of a line, with a `recordId` where it has none, as Bedrock adds it."""
    try:
        value: object = json.loads(line, parse_constant=_no_json)
    except (ValueError, RecursionError) as exc:
        raise UnusableInputError(f"has an input whose line {number} is no JSON.") from exc
    record = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not isinstance(record.get("modelInput"), dict):
        raise UnusableInputError(f"has an input whose line {number} has no JSON object as modelInput.")
    record_id = record.get("recordId", _made_up_id(number))
    if not isinstance(record_id, str):
        raise UnusableInputError(f"has an input whose line {number} has a recordId that is no string.")
    return {"recordId": record_id, "modelInput": record["modelInput"]}


def _made_up_id(number: int) -> str:
    digest = hashlib.sha256(str(number).encode()).digest()
    return "".join(ALPHANUMERIC[byte % len(ALPHANUMERIC)] for byte in digest[:RECORD_ID_CHARACTERS])


def _no_json(constant: str) -> None:
    raise ValueError(constant)
