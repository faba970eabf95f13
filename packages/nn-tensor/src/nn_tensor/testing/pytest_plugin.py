"""A pytest plugin: the device under test, as an option and a fixture.

Load it with ``-p nn_tensor.testing.pytest_plugin``. ``--device=cpu``, the default, runs all tests
but those marked ``cuda``. ``--device=cuda`` runs those, and once more every test that uses the
fixture ``device``. Without a CUDA device they are skipped; under ``NN_REQUIRE_CUDA=1`` that is a
failure.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

from nn_tensor._device import parse_device
from nn_tensor.extend import xp_for

__all__ = ["device"]

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# Packages that tests compare with: to lack one says nothing about the device.
_ORACLES = ("hypothesis", "ml_dtypes", "safetensors", "torch", "transformers")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--device``."""
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="device under test")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "cuda: runs only with --device=cuda")


def pytest_report_header(config: pytest.Config) -> str:
    """Name the device at the head of the report."""
    return f"device: {config.getoption('device')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what the device under test concerns."""
    cuda = config.getoption("device") == "cuda"
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        marked = item.get_closest_marker("cuda") is not None
        wanted = marked or "device" in getattr(item, "fixturenames", ()) if cuda else not marked
        (kept if wanted else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip whatever the CUDA run holds where there is no CUDA device."""
    if item.config.getoption("device") == "cuda":
        try:
            xp_for(parse_device("cuda"))
        except RuntimeError as error:
            pytest.skip(f"no CUDA: {error}")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Name the device under test, ``'cpu'`` or ``'cuda'``."""
    name: str = request.config.getoption("device")
    return name


def _judge_skip(config: pytest.Config, report: Report) -> Report:
    """Turn a skip into a failure where CUDA is required, unless only an oracle is missing."""
    required = config.getoption("device") == "cuda" and os.environ.get("NN_REQUIRE_CUDA") == "1"
    if not required or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(f"could not import '{name}" in reason for name in _ORACLES):
        report.outcome = "failed"
        report.longrepr = f"skipped, although NN_REQUIRE_CUDA=1 is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge the skips of tests."""
    return _judge_skip(item.config, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the skips of whole modules."""
    return _judge_skip(collector.config, (yield))
