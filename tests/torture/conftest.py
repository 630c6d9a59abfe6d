"""One sandbox process for all of these tests; every scene begins with an empty world."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.torture.scene import Vendor, vendor_process


@pytest.fixture(scope="session")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with vendor_process(tmp_path_factory.mktemp("vendor")) as running:
        yield running
