"""JAX with the whole epoch as one program, `lax.scan` over the batches, data resident. Runs in benchmarks/.venv."""

import functools
import os
from typing import Any

import jax  # type: ignore[import-not-found]
import jax.numpy as jnp  # type: ignore[import-not-found]
import numpy as np

from benchmarks.cases import CASES, Case, shapes
from benchmarks.protocol import Data, Task, Turns

VALIDATION_BATCH = 1000
ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "softmax": lambda logits: logits}
BETA_1, BETA_2, EPSILON, RATE = 0.9, 0.999, 1e-7, 0.001


def main() -> None:
    """Train as the task says, an epoch a turn."""
    turns, task = Turns(), Task.from_arguments()
    case, data = CASES[task.case], Data.read(task.data)
    trained, measured = (_resident(case, *part) for part in ((data.x_train, data.y_train), (data.x_val, data.y_val)))
    # The data are arguments: as constants of the program they would be folded, and compiling would take seconds more.
    train = jax.jit(functools.partial(_epoch, case), donate_argnums=1)
    validate = jax.jit(functools.partial(_validation, case))
    parameters = initial(case, task.seed)
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = (parameters, zeros, jax.tree.map(jnp.zeros_like, parameters), jnp.float32(0), jax.random.key(task.seed))
    turns.ready()
    for _ in range(task.epochs):
        turns.begin()
        state, loss = train(trained, state)
        val_loss, val_accuracy = validate(measured, state[0])
        turns.end(float(loss), float(val_loss), float(val_accuracy))
    turns.finish(os.cpu_count() or 1, {"jax": jax.__version__})


def initial(case: Case, seed: int) -> list[Any]:
    """Glorot's uniform kernels and zero biases of the layers that have weights."""
    key, parameters = jax.random.key(seed + 1), []
    glorot = jax.nn.initializers.glorot_uniform()
    for layer, entering, leaving in shapes(case):
        if layer["type"] in ("dense", "conv2d"):
            key, own = jax.random.split(key)
            patch = (layer["kernel_size"],) * 2 if layer["type"] == "conv2d" else ()
            parameters.append((glorot(own, (*patch, entering[-1], leaving[-1])), jnp.zeros(leaving[-1])))
    return parameters


def forward(case: Case, parameters: list[Any], images: Any, key: Any = None) -> Any:
    """Logits; dropout acts where a `key` is given."""
    values, own = images.astype(jnp.float32) / 255, iter(parameters)
    for layer in case.layers:
        match layer["type"]:
            case "dense":
                kernel, bias = next(own)
                values = ACTIVATIONS[layer["activation"]](values @ kernel + bias)
            case "conv2d":
                kernel, bias = next(own)
                values = ACTIVATIONS[layer["activation"]](_convolve(values, kernel) + bias)
            case "max_pooling2d":
                values = _pool(values, layer["pool_size"])
            case "flatten":
                values = values.reshape(len(values), -1)
            case "dropout" if key is not None:
                kept = jax.random.bernoulli(key, 1 - layer["rate"], values.shape)
                values = jnp.where(kept, values / (1 - layer["rate"]), 0)
    return values


def _convolve(values: Any, kernel: Any) -> Any:
    """The convolution as a matrix product of unrolled patches: on a CPU some ten times as fast as XLA's own."""
    height, width, _, leaving = kernel.shape
    rows, columns = values.shape[1] - height + 1, values.shape[2] - width + 1
    moved = [values[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    return jnp.concatenate(moved, axis=-1) @ kernel.reshape(-1, leaving)


def _pool(values: Any, size: int) -> Any:
    """The largest of each square, as two rounds of `maximum`, whose gradient XLA does far better than a window's."""
    height, width = (side // size * size for side in values.shape[1:3])
    rows = functools.reduce(jnp.maximum, (values[:, i:height:size] for i in range(size)))
    return functools.reduce(jnp.maximum, (rows[:, :, j:width:size] for j in range(size)))


def _loss(case: Case, parameters: list[Any], images: Any, labels: Any, key: Any = None) -> tuple[Any, Any]:
    logits = forward(case, parameters, images, key)
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]), logits


def _epoch(case: Case, data: tuple[Any, Any], state: Any) -> tuple[Any, Any]:
    """The state after one epoch, the partial batch included, and the mean loss."""
    examples, labels = data
    full, rest = divmod(len(labels), case.batch_size)

    def step(state: Any, rows: Any) -> tuple[Any, Any]:
        parameters, means, squares, steps, key = state
        key, own = jax.random.split(key)
        of_loss = jax.value_and_grad(lambda these: _loss(case, these, examples[rows], labels[rows], own)[0])
        loss, gradients = of_loss(parameters)
        steps = steps + 1
        means = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, means, gradients)
        squares = jax.tree.map(lambda s, g: BETA_2 * s + (1 - BETA_2) * g * g, squares, gradients)
        rate = RATE * jnp.sqrt(1 - BETA_2**steps) / (1 - BETA_1**steps)
        parameters = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + EPSILON), parameters, means, squares)
        return (parameters, means, squares, steps, key), loss * len(rows)

    key, own = jax.random.split(state[-1])
    order = jax.random.permutation(own, len(labels))
    state, losses = jax.lax.scan(step, (*state[:-1], key), order[: full * case.batch_size].reshape(full, -1))
    total = losses.sum()
    if rest:
        state, loss = step(state, order[-rest:])
        total = total + loss
    return state, total / len(labels)


def _validation(case: Case, data: tuple[Any, Any], parameters: Any) -> tuple[Any, Any]:
    """Mean loss and accuracy over `data`."""
    size = min(VALIDATION_BATCH, len(data[1]))
    batches = tuple(part.reshape(-1, size, *part.shape[1:]) for part in data)

    def measure(batch: Any) -> tuple[Any, Any]:
        loss, logits = _loss(case, parameters, *batch)
        return loss, (logits.argmax(1) == batch[1]).mean()

    losses, right = jax.lax.map(measure, batches)
    return losses.mean(), right.mean()


def _resident(case: Case, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    shape = (-1, 28, 28, 1) if case.is_convolutional else (-1, 784)
    return jnp.asarray(images).reshape(shape), jnp.asarray(labels.astype(np.int32))


if __name__ == "__main__":
    main()
