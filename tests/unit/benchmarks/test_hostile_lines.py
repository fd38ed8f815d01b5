"""The benchmark's hostile records are as large as the code allows."""

from benchmarks.measure import WIDE, hostile_lines
from benchmarks.modelled_aws import LAST_MODIFIED, SUBMITTED
from yorutsuke_common.records.dead_letter import MAX_RECORD_BYTES
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import ParsedRecord, RecordParser
from yorutsuke_common.schema import MAX_DESCRIPTION_CHARACTERS, DeadLetter


def test_hostile_records_are_at_their_maximum_size() -> None:
    parser = RecordParser(SUBMITTED, LAST_MODIFIED, ttl_days=730)

    good, letter = (parser.parse(Line(1, line)) for line in hostile_lines(2, MAX_RECORD_BYTES))

    assert isinstance(good, ParsedRecord)
    assert isinstance(letter, DeadLetter)
    description = good.transaction.description
    assert (len(description), description[-1]) == (MAX_DESCRIPTION_CHARACTERS, WIDE)
    # A record that was cut is kept as a string.
    assert all(one.record.startswith(b"{") for one in (good, letter))
    assert all(0.97 * MAX_RECORD_BYTES < len(one.record) <= MAX_RECORD_BYTES for one in (good, letter))
