"""Made-up receipts with different shops, dates and amounts. A run's id determines its receipts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

RECEIPT_KEYWORD = "yorutsuke-receipt"
"""Keyword of the text chunk of a drawn PNG that holds the receipt's fields as JSON. Models read only the pixels. The
local stand-in for Bedrock cannot read an image, so it reads this chunk."""
FIRST_DATE = date(2025, 1, 1)
DAYS = 300
SHOPS = {
    "HARBOR STATIONERY": ("purchase", ("Copy paper A4", "Ball pens", "Envelopes", "Notebooks")),
    "HOSHI COFFEE": ("other", ("Coffee", "Sandwich", "Lunch set", "Green tea")),
    "NIGHT POST OFFICE": ("shipping", ("Letter pack", "Parcel size 60", "Stamps")),
    "PACKAGING DEPOT": ("packaging", ("Bubble wrap", "Boxes 20 pcs", "Tape")),
    "CITY BANK": ("fee", ("Transfer fee", "Account fee")),
}
"""Category and goods by shop, in Latin letters: the font of the images has no others."""


@dataclass(frozen=True)
class SmokeReceipt:
    """A receipt, as it is printed. Prices are in yen, tax included."""

    image_id: str
    number: int
    shop: str
    category: str
    date: date
    items: Sequence[tuple[str, int]]

    @property
    def amount(self) -> int:
        """The total."""
        return sum(price for _, price in self.items)

    def fields(self) -> dict[str, object]:
        """Return the JSON object that a model reads from the receipt."""
        return {
            "amount": self.amount,
            "type": "expense",
            "date": self.date.isoformat(),
            "merchant": self.shop,
            "category": self.category,
            "description": ", ".join(name for name, _ in self.items),
        }


def make_receipts(run_id: str, image_ids: Sequence[str]) -> list[SmokeReceipt]:
    """Return a receipt for each image id."""
    dice = random.Random(run_id)  # noqa: S311 - sample data
    return [_receipt(dice, number, image_id) for number, image_id in enumerate(image_ids, 1)]


def _receipt(dice: random.Random, number: int, image_id: str) -> SmokeReceipt:
    shop = dice.choice([*SHOPS])
    category, goods = SHOPS[shop]
    bought = dice.sample(goods, dice.randint(1, min(3, len(goods))))
    items = [(name, dice.randrange(110, 9_990)) for name in bought]
    return SmokeReceipt(image_id, number, shop, category, FIRST_DATE + timedelta(dice.randrange(DAYS)), items)
