"""Which faults a run has, in which order and how long each lasts: all drawn from one seed."""

import random
from dataclasses import dataclass

# How often each kind comes, by deployment; seldom what starts TensorFlow anew, which takes two processors for seconds.
WEIGHTS: dict[str, dict[str, int]] = {
    "sqlite": {
        "kill-training": 6,
        "kill-worker": 3,
        "stop-worker": 3,
        "kill-supervisor": 2,
        "stop-supervisor": 1,
        "kill-api": 7,
        "kill-broker": 6,
        "flush-broker": 6,
        "lock-database": 7,
        "freeze-training": 7,
        "freeze-api": 3,
        "store-away": 5,
        "store-full": 5,
        "step-clock": 6,
    },
    "postgres": {
        "kill-training": 6,
        "kill-worker": 3,
        "stop-worker": 4,
        "kill-api": 7,
        "kill-broker": 4,
        "flush-broker": 4,
        "kill-database": 3,
        "restart-database": 3,
        "cut-worker-database": 6,
        "freeze-worker-database": 5,
        "cut-api-database": 3,
        "freeze-api-database": 2,
        "cut-broker": 3,
        "freeze-broker": 3,
        "freeze-training": 6,
        "freeze-api": 2,
        "store-away": 4,
        "store-full": 4,
        "step-clock": 5,
    },
}
# Seconds from a fault's beginning to its end, for those that last.
LASTING = {
    "lock-database": (1.0, 8.0),
    "freeze-training": (3.5, 7.0),  # beyond the lease
    "freeze-api": (1.0, 6.0),
    "store-away": (1.0, 5.0),
    "store-full": (1.0, 5.0),
    "cut-worker-database": (1.0, 8.0),
    "freeze-worker-database": (1.0, 8.0),
    "cut-api-database": (1.0, 6.0),
    "freeze-api-database": (1.0, 6.0),
    "cut-broker": (1.0, 6.0),
    "freeze-broker": (1.0, 8.0),
}
# Two that hurt one thing cannot overlap: a lock that is held, a folder that is away.
PLACES = {"store-away": "store", "store-full": "store"}
LARGEST_STEP_SECONDS = 6 * 3600.0
SHARE_OF_PAIRS = 0.3
PAUSE_SECONDS = (0.3, 3.0)


@dataclass(frozen=True)
class Fault:
    """One fault: `pick`, from 0 to 1, chooses among what can be hit, `amount`, from -1 to 1, is for what needs one."""

    kind: str
    pick: float
    seconds: float
    amount: float


@dataclass(frozen=True)
class Round:
    """One fault or two that overlap, the second `gap` seconds after the first; then a pause."""

    faults: tuple[Fault, ...]
    gap: float
    pause: float


def draw(seed: int, deployment: str, count: int) -> list[Round]:
    """A schedule of `count` faults in which each kind has its share."""
    chance = random.Random(f"{seed}/{deployment}")
    kinds = _shares(WEIGHTS[deployment], count)
    chance.shuffle(kinds)
    faults = [_fault(chance, kind) for kind in kinds]
    rounds = []
    while faults:
        wanted = 2 if chance.random() < SHARE_OF_PAIRS else 1
        size = wanted if len({PLACES.get(fault.kind, fault.kind) for fault in faults[:2]}) == 2 else 1
        rounds.append(Round(tuple(faults[:size]), chance.uniform(0, 1.5), chance.uniform(*PAUSE_SECONDS)))
        faults = faults[size:]
    return rounds


def _fault(chance: random.Random, kind: str) -> Fault:
    seconds = chance.uniform(*LASTING[kind]) if kind in LASTING else 0.0
    return Fault(kind, chance.random(), seconds, chance.uniform(-1, 1))


def _shares(weights: dict[str, int], count: int) -> list[str]:
    """`count` kinds in proportion to their weights, by largest remainders."""
    total = sum(weights.values())
    exact = {kind: count * weight / total for kind, weight in weights.items()}
    numbers = {kind: int(share) for kind, share in exact.items()}
    rest = sorted(weights, key=lambda kind: numbers[kind] - exact[kind])[: count - sum(numbers.values())]
    return [kind for kind in weights for _ in range(numbers[kind] + (kind in rest))]
