import doctest
import importlib
import pkgutil

import pytest

from monitors import stats

MODULES = [module.name for module in pkgutil.walk_packages(stats.__path__, f"{stats.__name__}.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    failures, _ = doctest.testmod(importlib.import_module(name))

    assert failures == 0
