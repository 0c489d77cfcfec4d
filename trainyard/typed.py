"""What people write into a file or type after an option: a spec, a learning rate."""

import json
from math import isfinite, nan
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def read_spec(path: str | Path) -> Json:
    """The JSON spec in a file.

    Raises:
        ValueError: it is not a JSON object; the sentence says where.
    """
    return parse_spec(Path(path).read_text(encoding="utf-8"), str(path))


def parse_spec(text: str, name: str) -> Json:
    """The JSON spec in `text`, which came from `name`."""
    try:
        spec = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise ValueError(f'A spec is a JSON object such as {{"dataset": "mnist"}}. Received: {text.strip()[:40]}')
    return spec


def parse_rate(text: str) -> float | Json:
    """The learning rate that `text` says: a number, or the JSON object of a schedule.

    Raises:
        ValueError: it is neither.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = nan
    if isfinite(rate):
        return rate
    try:
        schedule = json.loads(text)
    except json.JSONDecodeError:
        schedule = None
    if not isinstance(schedule, dict):
        raise ValueError(
            "A learning rate is a number, or a schedule such as "
            f'{{"type": "cosine_decay", "initial_learning_rate": 0.001, "decay_steps": 1000}}. Received: {text[:80]}'
        )
    return schedule
