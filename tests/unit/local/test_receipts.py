"""The demo's receipts and the form in docs/outputs.md have all fields of a receipt."""

import random
import re
from pathlib import Path

from local.receipts import receipt_fields
from yorutsuke_common.schema import Receipt

OUTPUTS = Path(__file__).parents[3] / "docs" / "outputs.md"


def test_demo_receipt_has_every_field_of_a_receipt() -> None:
    assert receipt_fields(random.Random(1)).keys() == Receipt.model_fields.keys()  # noqa: S311 - not for a secret


def test_outputs_page_names_every_field_of_a_receipt() -> None:
    section = OUTPUTS.read_text().partition("## The fields of a receipt\n")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [*Receipt.model_fields]
