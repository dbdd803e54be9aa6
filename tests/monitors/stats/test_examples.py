import doctest
import importlib
import pkgutil

import pytest

from monitors import stats

MODULES = [module.name for module in pkgutil.iter_modules(stats.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    failures, _ = doctest.testmod(importlib.import_module(f"monitors.stats.{name}"))

    assert failures == 0
