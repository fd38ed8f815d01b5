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
    [form] = re.findall(r"A receipt has (.*?), all of them\.", OUTPUTS.read_text(), re.DOTALL)

    without_choices = re.sub(r"\(.*?\)", "", form, flags=re.DOTALL)

    assert re.findall(r"`(\w+)`", without_choices) == [*Receipt.model_fields]
