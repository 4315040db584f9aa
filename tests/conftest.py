"""What every test gets: global random state that nobody may touch, and no settings of the user who runs the tests."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from cold_study import USER, cold_study  # noqa: F401 (a fixture of every session)

for name in [name for name in os.environ if name.startswith("AMFIR_")]:
    del os.environ[name]


def _global_state() -> tuple:
    import torch

    kind, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    return random.getstate(), kind, keys.tobytes(), position, torch.get_rng_state().numpy().tobytes()


@pytest.fixture(autouse=True)
def global_random_state_stays_untouched(request):
    """Fail a test whose code draws from a global generator: results would then depend on the order of calls."""
    before = _global_state()
    yield
    if request.node.get_closest_marker("foreign_threads_draw"):  # a library's own, for the names of its connections
        return
    assert _global_state() == before, "this test, or code that it calls, used a global random generator"


@pytest.hookimpl(trylast=True)  # after the shuffling
def pytest_collection_modifyitems(items):
    """Tests that wait for a study come last, so that it is made meanwhile."""
    items.sort(key=lambda item: item.path.name == USER)
