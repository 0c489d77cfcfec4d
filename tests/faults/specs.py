"""The jobs of a run: small networks on the built-in digits, each long enough to be hit and short enough to be many."""

import copy
from typing import Any

Json = dict[str, Any]
DATA = {"name": "digits", "train_size": 400}
DENSE = [{"type": "dense", "units": 32, "activation": "relu"}]
HEAD = {"type": "dense", "units": 10}
SPECS: dict[str, Json] = {
    "plain": {
        "network": {"layers": ["flatten", *DENSE, HEAD]},
        "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "batch_size": 4,
        "epochs": 40,
    },
    "noisy": {
        "network": {
            "layers": ["flatten", *DENSE, {"type": "batch_normalization"}, {"type": "dropout", "rate": 0.3}, HEAD]
        },
        "optimizer": {"type": "adam", "learning_rate": 0.003},
        "batch_size": 4,
        "epochs": 40,
    },
    "stopping": {
        "network": {"layers": ["flatten", *DENSE, {"type": "dropout", "rate": 0.2}, HEAD]},
        "optimizer": {"type": "adam", "learning_rate": 0.002},
        "early_stopping": {"monitor": "val_loss", "patience": 6, "restore_best_weights": True},
        "batch_size": 4,
        "epochs": 40,
    },
    "convolution": {
        "network": {"layers": [{"type": "conv2d", "filters": 4, "kernel_size": 3}, "flatten", HEAD]},
        "batch_size": 8,
        "epochs": 12,
    },
    "plateau": {
        "network": {"layers": ["flatten", *DENSE, HEAD]},
        "optimizer": {"type": "rmsprop", "learning_rate": 0.01},
        "reduce_on_plateau": {"monitor": "loss", "factor": 0.5, "patience": 2, "min_delta": 0.02},
        "batch_size": 4,
        "epochs": 30,
    },
    "augmented": {
        "dataset": DATA | {"augmentation": {"rotation": 0.05, "translation": 0.1, "zoom": 0.1, "noise": 0.1}},
        "network": {"layers": ["flatten", *DENSE, HEAD]},
        "batch_size": 8,
        "epochs": 15,
    },
    "initialization": {
        "kind": "initialization",
        "network": {"layers": ["flatten", *DENSE, *DENSE, HEAD]},
        "initialization": {"examples": 1000},
    },
    "export": {"kind": "export"},
    "verify": {"kind": "verify"},
}
# Of so many jobs of each kind: training is what faults are about.
SHARES = {"plain": 4, "noisy": 5, "stopping": 4, "convolution": 3, "plateau": 3, "augmented": 3}
SHARES |= {"initialization": 1, "export": 1}


def spec_of(kind: str, name: str, source: str | None = None, data: Json | None = None) -> Json:
    """A spec to submit; `source` is the job whose model an export writes, or that a verification of `data` repeats."""
    spec = {"dataset": data or DATA, "name": name} | copy.deepcopy(SPECS[kind])
    if kind == "export":
        spec["export"] = {"job": source, "format": "litert"}
    if kind == "verify":
        spec["verify"] = {"job": source}
    return spec
