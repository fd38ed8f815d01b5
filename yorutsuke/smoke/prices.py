"""The prices of batch inference, from which the cost of a run is estimated.

Source: Amazon Bedrock pricing (batch inference costs half of on-demand inference). The table has half of the on-demand
prices of US East (N. Virginia) that price comparisons quoted in October 2026. Other Regions and inference profiles may
cost more or less.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

PRICES_AS_OF = "2026-10, US East (N. Virginia)"
MILLION = 1_000_000
_GEOGRAPHY = re.compile(r"^(?:[a-z-]+\.)?(?=(?:amazon|anthropic)\.)")


@dataclass(frozen=True)
class BatchPrice:
    """The prices of a million tokens, in US dollars."""

    input: Decimal
    output: Decimal


PRICES = {
    "amazon.nova-lite-v1:0": BatchPrice(Decimal("0.03"), Decimal("0.12")),
    "amazon.nova-pro-v1:0": BatchPrice(Decimal("0.40"), Decimal("1.60")),
    "anthropic.claude-haiku-4-5-20251001-v1:0": BatchPrice(Decimal("0.50"), Decimal("2.50")),
}
"""Price by model."""


@dataclass(frozen=True)
class Tokens:
    """The numbers of tokens of a job."""

    input: int
    output: int


def cost(model_id: str | None, tokens: Tokens | None) -> Decimal | None:
    """Return the cost of a job in US dollars, or None if the model's price or the tokens are not known.

    The ARN of an application inference profile does not name its model, so its price is not known.
    """
    price = PRICES.get(_GEOGRAPHY.sub("", model_id or ""))
    if price is None or tokens is None:
        return None
    return (price.input * tokens.input + price.output * tokens.output) / MILLION
