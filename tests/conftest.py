"""The distribution of tests among workers, and what all tests share.

Tests run one by one, except for tests that share an expensive set-up.
"""

from collections.abc import Generator
from functools import cache
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader
from xdist.scheduler import LoadScopeScheduling  # pyright: ignore[reportMissingTypeStubs] - it has types, unmarked

SHARED_SETUP = (
    "tests/e2e/test_bedrock.py",
    "tests/e2e/test_broken_stage.py",
    "tests/e2e/test_deploying_policies.py",
    "tests/e2e/test_least_privilege.py",
    "tests/e2e/test_loop.py",
    "tests/e2e/test_monitoring_contract.py",
    "tests/e2e/test_operator_smoke.py",
    "tests/infra/test_artifacts.py",
    "tests/integration/",
)
"""Folders and files whose tests stay together, file by file: they share a stage, its log, or a build."""
S3_STAGE = ("tests/e2e/test_direct_invocation.py", "[s3_stage]")
"""Parts of the ids of tests on the stage whose bucket invokes the function."""


class SharedSetupScheduling(LoadScopeScheduling):
    """Sends the tests of a file or a stage with a shared set-up to one worker, and all others one by one."""

    def _split_scope(self, nodeid: str) -> str:
        if any(part in nodeid for part in S3_STAGE):
            return "s3_stage"
        return nodeid.partition("::")[0] if nodeid.startswith(SHARED_SETUP) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedSetupScheduling:
    """Return the scheduler. xdist's own groups (`--dist loadgroup`) have no effect with pytest 9."""
    return SharedSetupScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _service_models_are_read_once() -> Generator[None]:
    """Keep what botocore has read of a service: each new session reads it again, a quarter of an operator's test."""
    load = cache(JSONFileLoader().load_file)

    def load_file(_: JSONFileLoader, file_path: str) -> Any:
        return load(file_path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", load_file)
        yield
