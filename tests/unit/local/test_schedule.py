"""The result of scheduled runs is compared with the receipts that were made up for each user."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from local.receipts import Receipt, make_receipts
from local.schedule import ScheduleResult, problem

RECEIPTS = {"user-1": make_receipts(2, 1, "one-"), "user-2": make_receipts(2, 2, "two-")}
JOB = {"jobId": "job1", "intentId": "schedule-1", "pendingImageIds": ["one-img-00001", "two-img-00001"]}
CORRECT = {"lost": 0, "wrongOwner": 0, "doubled": 0}


def _transaction(user: str, receipt: Receipt, **changes: object) -> dict[str, Any]:
    """Return the item of a transaction. The table has numbers as Decimal."""
    fields = {**receipt.fields, "amount": Decimal(str(receipt.fields["amount"]))}
    return {"userId": user, "imageId": receipt.image_id, "jobId": "job1", **fields, **changes}


def _failed(receipt: Receipt, **attributes: str) -> dict[str, Any]:
    return {"imageId": receipt.image_id, "status": "failed", **attributes}


FIRST, SECOND, OTHER, LAST = (receipt for own in RECEIPTS.values() for receipt in own)
TRANSACTIONS = [_transaction("user-1", FIRST), _transaction("user-1", SECOND), _transaction("user-2", OTHER)]
RESULT = ScheduleResult(
    receipts=RECEIPTS,
    images=[_failed(LAST, failureReason="MODEL_ERROR")],
    jobs=[{**JOB, "status": status} for status in ("COMPLETED", "COMPLETED", "FAILED")],
    transactions=TRANSACTIONS,
    runs=3,
    seconds=1.234,
)


def test_correct_result_has_no_problem() -> None:
    summary = RESULT.summary()

    assert summary == {
        "users": 2,
        "images": 4,
        "runs": 3,
        "jobs": 3,
        "failedJobs": 1,
        "transactions": 3,
        "failedImages": 1,
        "failureReasons": {"MODEL_ERROR": 1},
        **CORRECT,
        "seconds": 1.23,
    }
    assert problem(summary) is None


@pytest.mark.parametrize(
    ("transactions", "images", "counts"),
    [
        pytest.param(TRANSACTIONS[:2], RESULT.images, {"lost": 1}, id="without transaction"),
        pytest.param(TRANSACTIONS, [_failed(LAST)], {"lost": 1}, id="without reason"),
        pytest.param(
            TRANSACTIONS, [{**RESULT.images[0], "status": "pending"}], {"lost": 1}, id="released and still waiting"
        ),
        pytest.param(
            [*TRANSACTIONS[:2], _transaction("user-1", OTHER)], RESULT.images, {"wrongOwner": 1}, id="another user"
        ),
        pytest.param(
            [*TRANSACTIONS[:2], _transaction("user-2", SECOND, imageId=OTHER.image_id)],
            RESULT.images,
            {"wrongOwner": 1},
            id="receipt of another user",
        ),
        pytest.param(
            [*TRANSACTIONS, _transaction("user-3", OTHER, imageId="three")],
            RESULT.images,
            {"wrongOwner": 1},
            id="unknown image",
        ),
        pytest.param([*TRANSACTIONS, TRANSACTIONS[0]], RESULT.images, {"doubled": 1}, id="two transactions"),
        pytest.param(
            TRANSACTIONS,
            [*RESULT.images, _failed(FIRST, failureReason="FAILED")],
            {"doubled": 1},
            id="transaction and failure",
        ),
    ],
)
def test_wrong_result_is_counted(
    transactions: list[dict[str, Any]], images: list[dict[str, Any]], counts: dict[str, int]
) -> None:
    summary = replace(RESULT, transactions=transactions, images=images).summary()

    assert {name: summary[name] for name in CORRECT} == {**CORRECT, **counts}
    [(name, count)] = counts.items()
    assert (problem(summary) or "").startswith(f"The scheduled runs have a wrong result ({name}: {count}).")
