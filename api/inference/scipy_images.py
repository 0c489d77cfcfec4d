"""SciPy's image functions, imported when first needed."""

from functools import cache
from importlib import import_module
from typing import Any


@cache
def ndimage() -> Any:
    """The module `scipy.ndimage`: its import takes up to half a second, so not at the start of the API."""
    return import_module("scipy.ndimage")
