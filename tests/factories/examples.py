"""How many examples a property is tried on: a quarter by default, all of them with HYPOTHESIS_PROFILE=thorough."""

import os

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


def examples(thorough: int) -> int:
    """`thorough`, or a quarter of it, but five at least where there are as many."""
    return thorough if THOROUGH else min(thorough, max(5, thorough // 4))
