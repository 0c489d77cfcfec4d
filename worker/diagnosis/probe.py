"""Looks into a network while it learns: gradients, steps and activations of each layer on a sampled batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.diagnoses import LayerSigns
from models.spec import JobSpec, summarize
from models.spec.layers.recurrent import GRU, LSTM, SimpleRNN
from worker.checkpoints import variables_of
from worker.diagnosis.activations import Watched, dead_share, saturated_share, watched_activations
from worker.training import ResidentModel

MOST_EXAMPLES = 256
FEWEST_EXAMPLES = 64
# Of the forward and backward pass of one look: some hundredths of a second on two cores.
LOOK_OPERATIONS = 1e9
# What a look takes, roughly, in a process that has looked before: in all, for each layer, for the steps of a recurrent
# one, and for the arithmetic.
LOOK_SECONDS, LAYER_SECONDS, RECURRENT_SECONDS, OPERATIONS_A_SECOND = 0.02, 0.002, 0.06, 30e9
# Sets what is drawn here apart from the order of the examples.
DRAWN = 0x100C


class Probe:
    """Looks at a model without leaving a trace: what it learns is bit for bit the same with looks and without.

    Everything is computed eagerly, since tracing a function takes a quarter of a second.
    """

    def __init__(self, model: ResidentModel, spec: JobSpec) -> None:
        self._model, self._seed = model, spec.seed
        self._watched = watched_activations(spec.nodes)
        self._examples = _examples_of(spec)
        self._layers = [layer for layer in model.network.layers if layer.trainable_variables]
        self._inside: keras.Model | None = None

    def look(self, epoch: int) -> list[LayerSigns]:
        """The signs of each layer with weights that are trained, in the order of the network.

        It looks at up to 256 training examples, drawn from the seed and the epoch; at fewer where a pass is dear. The
        network runs as in training: augmentation, dropout and the batch's own statistics included. The loss is the
        one that is minimised, with class weights and penalties.

        Args:
            epoch: counted from 1.
        """
        with _put_back(variables_of(self._model)):
            gradients, outputs = self._gradients(self._draw(epoch))
            before = self._weights()
            _inner(self._model.optimizer).apply(gradients, self._model.trainable_variables)
            after = self._weights()
        places = {id(variable): place for place, variable in enumerate(self._model.trainable_variables)}
        shares = {each.layer: (each, output) for each, output in zip(self._watched, outputs, strict=True)}
        return [
            _signs(layer, [places[id(each)] for each in layer.trainable_variables], gradients, before, after, shares)
            for layer in self._layers
        ]

    def _draw(self, epoch: int) -> tuple[Any, ...]:
        """Inputs, labels and, if classes have weights, those of the examples."""
        whole = self._model.examples
        random = np.random.default_rng((self._seed, epoch, DRAWN))
        drawn = random.choice(whole, min(self._examples, whole), replace=False, shuffle=False)
        return self._model.training_batch(drawn.astype(np.int32))

    def _gradients(self, batch: tuple[Any, ...]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The gradient by each trained variable, and the watched outputs.

        Under mixed_float16 the loss is scaled as in training, since small gradients would become zero; where that
        makes a gradient too large for float16, training would skip the batch, and the plain loss is used here.
        """
        optimizer = self._model.optimizer
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            return self._scaled_gradients(batch, None)
        gradients, outputs = self._scaled_gradients(batch, tf.convert_to_tensor(optimizer.dynamic_scale))
        if all(bool(tf.reduce_all(tf.math.is_finite(gradient))) for gradient in gradients):
            return gradients, outputs
        return self._scaled_gradients(batch, None)

    def _scaled_gradients(
        self, batch: tuple[Any, ...], scale: tf.Tensor | None
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        inputs, labels, *weights = batch
        if self._inside is None:
            self._inside = self._build_inside()
        with tf.GradientTape() as tape:
            *outputs, predicted = keras.tree.flatten(self._inside(inputs, training=True))
            loss = self._model.compute_loss(
                x=inputs, y=labels, y_pred=predicted, sample_weight=weights[0] if weights else None, training=True
            )
            minimised = loss if scale is None else loss * scale
        variables = [variable.value for variable in self._model.trainable_variables]
        gradients = tape.gradient(minimised, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return gradients if scale is None else [gradient / scale for gradient in gradients], outputs

    def _build_inside(self) -> keras.Model:
        """The same layers, so that the watched outputs come out too."""
        network = self._model.network
        watched = [network.get_layer(each.output).output for each in self._watched]
        return keras.Model(network.inputs, [*watched, network.outputs[0]], name="inside")

    def _weights(self) -> list[tf.Tensor]:
        return [variable.value.read_value() for variable in self._model.trainable_variables]


def expected_seconds(spec: JobSpec) -> float:
    """What a job's first look is reckoned to take, before there is one to go by."""
    recurrent = sum(isinstance(node.layer, SimpleRNN | LSTM | GRU) for node in spec.nodes)
    arithmetic = _examples_of(spec) * _operations(spec) / OPERATIONS_A_SECOND
    return LOOK_SECONDS + LAYER_SECONDS * len(spec.nodes) + RECURRENT_SECONDS * recurrent + arithmetic


@contextmanager
def _put_back(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Leave the variables as they were found. A tensor that was read shares memory until the variable changes."""
    found = [variable.value.read_value() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, found, strict=True):
            variable.value.assign(value)


def _inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer proper, which takes gradients that are not scaled."""
    is_scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if is_scaling else optimizer


def _examples_of(spec: JobSpec) -> int:
    return max(FEWEST_EXAMPLES, min(int(LOOK_OPERATIONS / _operations(spec)), MOST_EXAMPLES))


def _operations(spec: JobSpec) -> int:
    """For one example: forward and backward pass, two operations a multiply-add."""
    return 6 * max(1, summarize(spec).multiply_adds)


def _signs(
    layer: keras.layers.Layer,
    places: Sequence[int],
    gradients: Sequence[tf.Tensor],
    before: Sequence[tf.Tensor],
    after: Sequence[tf.Tensor],
    shares: dict[str, tuple[Watched, tf.Tensor]],
) -> LayerSigns:
    weight_norm = _norm([before[place] for place in places])
    step_norm = _norm([after[place] - before[place] for place in places])
    dead = saturated = None
    if layer.name in shares:
        watched, output = shares[layer.name]
        dead, saturated = dead_share(watched, output), saturated_share(watched, output)
    return LayerSigns(
        layer=layer.name,
        gradient_norm=_norm([gradients[place] for place in places]),
        weight_norm=weight_norm,
        update_ratio=_ratio(step_norm, weight_norm),
        dead_share=dead,
        saturated_share=saturated,
    )


def _norm(tensors: Sequence[tf.Tensor]) -> float:
    """L2 norm over all of them, in float64: squares of large float32 numbers would become infinite."""
    with np.errstate(all="ignore"):
        # Not a dot product: BLAS would wake its threads for it, which takes longer than the sum.
        return float(np.sqrt(sum(np.square(tensor.numpy(), dtype=np.float64).sum() for tensor in tensors)))


def _ratio(step: float, weights: float) -> float:
    if weights == 0:
        return 0.0 if step == 0 else float("inf")
    return step / weights
