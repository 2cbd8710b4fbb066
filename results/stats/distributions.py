"""Functions of Student's t, the F, the beta and the binomial distribution: those of `scipy.special`.

The package `scipy.special` imports its support of other array libraries first, which takes longer than a table of 300 rows.
Its compiled functions need none of that.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any

PACKAGE, COMPILED = "scipy.special", "scipy.special._ufuncs"


def compiled() -> Any:
    """Import the compiled functions alone. `ImportError` where this SciPy has no such file."""
    if PACKAGE in sys.modules:
        return import_module(COMPILED)
    spec = PathFinder.find_spec(PACKAGE, import_module("scipy").__path__)
    if spec is None:
        raise ImportError(f"{PACKAGE} is missing")
    # A package whose code has not run stands in for it, and the next import of the package runs the code.
    sys.modules[PACKAGE] = module_from_spec(spec)
    try:
        return import_module(COMPILED)
    finally:
        del sys.modules[PACKAGE]


def _functions() -> tuple[Any, ...]:
    names = ("bdtr", "betaincinv", "fdtrc", "stdtr", "stdtrit")
    try:
        module = compiled()
        return tuple(getattr(module, name) for name in names)
    except (ImportError, AttributeError):  # a SciPy with other files
        module = import_module(PACKAGE)
        return tuple(getattr(module, name) for name in names)


bdtr, betaincinv, fdtrc, stdtr, stdtrit = _functions()
