"""A tuned PyTorch loop: no DataLoader, data resident in memory, the fused optimizer. Runs in benchmarks/.venv."""

import os
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from torch import nn

from benchmarks.cases import CASES, Case, shapes
from benchmarks.protocol import Data, Task, Turns

VALIDATION_BATCH = 1000
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def main() -> None:
    """Train as the task says, an epoch a turn."""
    turns, task = Turns(), Task.from_arguments()
    torch.manual_seed(task.seed)
    torch.set_num_threads(os.cpu_count() or 1)
    case, data = CASES[task.case], Data.read(task.data)
    trained = _resident(case, data.x_train, data.y_train)
    measured = _resident(case, data.x_val, data.y_val)
    network = build(case)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001, eps=1e-7, fused=True)
    cast = torch.autocast("cpu", torch.bfloat16) if task.precision == "mixed_bfloat16" else nullcontext()
    turns.ready()
    for _ in range(task.epochs):
        turns.begin()
        loss = train(network, optimizer, trained, case.batch_size, cast)
        turns.end(loss, *validate(network, measured, cast))
    turns.finish(torch.get_num_threads(), {"torch": torch.__version__})


def build(case: Case) -> Any:
    """The network, from floats between 0 and 1 to logits; Glorot's uniform kernels, zero biases."""
    layers: list[Any] = []
    for layer, entering, leaving in shapes(case):
        match layer["type"]:
            case "dense":
                layers.append(nn.Linear(entering[0], leaving[0]))
            case "conv2d":
                layers.append(nn.Conv2d(entering[-1], leaving[-1], layer["kernel_size"]))
            case "max_pooling2d":
                layers.append(nn.MaxPool2d(layer["pool_size"]))
            case "dropout":
                layers.append(nn.Dropout(layer["rate"]))
            case "flatten":
                layers.append(nn.Flatten())
        if layer["type"] in ("dense", "conv2d"):
            nn.init.xavier_uniform_(layers[-1].weight)
            nn.init.zeros_(layers[-1].bias)
        if layer.get("activation") in ACTIVATIONS:
            layers.append(ACTIVATIONS[layer["activation"]]())
    network = nn.Sequential(*layers)
    return network.to(memory_format=torch.channels_last) if case.is_convolutional else network


def train(network: Any, optimizer: Any, data: tuple[Any, Any], batch_size: int, cast: Any) -> float:
    """One epoch in a new order; the mean loss."""
    examples, labels = data
    total = torch.zeros(())
    network.train()
    for rows in torch.randperm(len(labels)).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        truth = labels.index_select(0, rows)
        loss = nn.functional.cross_entropy(_logits(network, examples.index_select(0, rows), cast), truth)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return float(total) / len(labels)


def validate(network: Any, data: tuple[Any, Any], cast: Any) -> tuple[float, float]:
    """Mean loss and accuracy."""
    total, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
    network.eval()
    with torch.inference_mode():
        for examples, labels in zip(*(part.split(VALIDATION_BATCH) for part in data), strict=True):
            logits = _logits(network, examples, cast)
            total += nn.functional.cross_entropy(logits, labels, reduction="sum")
            right += (logits.argmax(1) == labels).sum()
    return float(total) / len(data[1]), int(right) / len(data[1])


def _logits(network: Any, examples: Any, cast: Any) -> Any:
    floats = examples.float().div_(255)
    with cast:
        logits = network(floats)
    return logits.float()


def _resident(case: Case, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    shape = (-1, 1, 28, 28) if case.is_convolutional else (-1, 784)
    return torch.from_numpy(images.reshape(shape)), torch.from_numpy(labels).long()


if __name__ == "__main__":
    main()
