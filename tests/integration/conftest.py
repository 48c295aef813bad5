"""Kernels of these tests go to a cache directory of their own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    directory = tmp_path_factory.mktemp("kernels")
    patch.setenv("TRACEGRAD_CACHE_DIR", str(directory))
    yield directory
    patch.undo()
