"""Max pooling right after a convolution with relu: the same numbers, with gradients worked out where it is cheaper.

Backwards, Keras's layers go from the pooling to the relu to the bias, each over the whole image. The pooling lets the
gradient of a single place of each window through, and that place was above zero if the pooled value is. So the
gradients of relu and bias are those of the pooled image, which is a quarter as large or less. On a CPU this took 15 %
off the float32 epoch of the benchmark's convolutional network.
"""

from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf

from models.spec.activations import PlainActivation
from models.spec.layers import Conv2D, Layer, MaxPooling2D, Merge
from models.spec.network import Node


class ConvolutionBeforePooling(keras.layers.Conv2D):
    """Keras's convolution, linear or relu, that leaves the gradients of bias and relu to the pooling after it."""

    def call(self, inputs: Any) -> Any:
        """As Keras's own."""
        outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            outputs = tf.nn.bias_add(outputs, tf.stop_gradient(tf.convert_to_tensor(self.bias)))
        return _relu_without_gradient(outputs) if self.is_relu else outputs

    @property
    def is_relu(self) -> bool:
        """Whether there is a relu, or no activation at all."""
        return self.activation is keras.activations.relu

    def settle(self, pooled: Any) -> Any:
        """What was pooled, with the gradients that `call` left out."""
        if self.use_bias:
            pooled = _gradient_of_bias(pooled, tf.convert_to_tensor(self.bias))
        return _gradient_of_relu(pooled) if self.is_relu else pooled


class PoolingAfterConvolution(keras.layers.MaxPooling2D):
    """Keras's max pooling, which sees to the gradients that the convolution before it left out."""

    def __init__(self, convolution: ConvolutionBeforePooling, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._settle = convolution.settle

    def call(self, inputs: Any) -> Any:
        """As Keras's own."""
        return self._settle(super().call(inputs))


def pooled_convolutions(nodes: Collection[Node]) -> dict[str, str]:
    """The max poolings that only a convolution feeds and that are its only readers: names, and the convolutions'."""
    by_name = {node.name: node for node in nodes}
    read = [name for node in nodes for name in node.inputs]
    pooled = [node for node in nodes if isinstance(node.layer, MaxPooling2D)]
    pairs = [(node.name, by_name.get(node.inputs[0])) for node in pooled]
    return {
        name: before.name
        for name, before in pairs
        if before is not None and read.count(before.name) == 1 and _leaves_gradients(before.layer)
    }


def _leaves_gradients(layer: Layer | Merge) -> bool:
    if not isinstance(layer, Conv2D) or layer.activity_regularizer is not None:
        return False
    return isinstance(layer.activation, PlainActivation) and layer.activation.type in ("linear", "relu")


@tf.custom_gradient
def _relu_without_gradient(x: Any) -> Any:
    return tf.nn.relu(x), lambda gradient: gradient


@tf.custom_gradient
def _gradient_of_relu(y: Any) -> Any:
    return tf.identity(y), lambda gradient: tf.raw_ops.ReluGrad(gradients=gradient, features=y)


@tf.custom_gradient
def _gradient_of_bias(y: Any, bias: Any) -> Any:
    del bias
    return tf.identity(y), lambda gradient: (gradient, tf.raw_ops.BiasAddGrad(out_backprop=gradient))
