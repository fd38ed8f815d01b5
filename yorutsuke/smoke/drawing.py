"""Draws receipts as PNG images that a model can read."""

import io
import json

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from .receipts import RECEIPT_KEYWORD, SmokeReceipt

WIDTH, HEIGHT = 480, 480
MARGIN = 32
LINE_HEIGHT = 36
FONT_SIZE, TITLE_SIZE = 24, 32
"""Height of the letters, in pixels. Models scale images down, so small letters could become unreadable."""
BLACK, WHITE = 0, 255


def draw(receipt: SmokeReceipt) -> bytes:
    """Return the image of a receipt."""
    image = Image.new("L", (WIDTH, HEIGHT), WHITE)
    canvas = ImageDraw.Draw(image)
    font, title = ImageFont.load_default(FONT_SIZE), ImageFont.load_default(TITLE_SIZE)
    canvas.text((WIDTH / 2, MARGIN), receipt.shop, BLACK, title, anchor="ma")
    lines = [
        (f"RECEIPT No. {receipt.number:06}", ""),
        ("Date", receipt.date.isoformat()),
        ("", ""),
        *((name, _yen(price)) for name, price in receipt.items),
        ("", ""),
        ("TOTAL (tax included)", _yen(receipt.amount)),
        ("PAID", _yen(receipt.amount)),
    ]
    for number, (left, right) in enumerate(lines, 2):
        y = MARGIN + number * LINE_HEIGHT
        canvas.text((MARGIN, y), left, BLACK, font)
        canvas.text((WIDTH - MARGIN, y), right, BLACK, font, anchor="ra")
    metadata = PngInfo()
    metadata.add_text(RECEIPT_KEYWORD, json.dumps(receipt.fields()))
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=metadata, optimize=True)
    return file.getvalue()


def _yen(amount: int) -> str:
    return f"JPY {amount:,}"
