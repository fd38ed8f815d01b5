"""The distribution of tests among workers: one by one, except for tests that share an expensive set-up."""

from collections.abc import Iterable

import pytest

SHARED_SETUP = (
    "e2e/test_bedrock.py",
    "e2e/test_broken_night.py",
    "e2e/test_least_privilege.py",
    "e2e/test_loop.py",
    "e2e/test_monitoring_contract.py",
    "infra/test_artifacts.py",
    "integration/",
)
"""Folders and files whose tests stay together, file by file: they share a stage, its log, or a build."""


# First: xdist reads the groups in its own hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Group the tests of a file that share their set-up."""
    for item in items:
        path = item.nodeid.partition("::")[0].removeprefix("tests/")
        if path.startswith(SHARED_SETUP):
            item.add_marker(pytest.mark.xdist_group(path))
