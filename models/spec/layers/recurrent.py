"""Layers that go through rows one after another: the input is (steps, features), such as an image after a reshape."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from models.spec.activations import SIGMOID, TANH, ActivationField
from models.spec.initializers import GLOROT_UNIFORM, ORTHOGONAL, ZEROS, BiasInitializerField, InitializerField
from models.spec.layers.base import Effect, Misfit, Shape, WeightedPart, Width, words
from models.spec.regularizers import RegularizerField

Rate = Annotated[float, Field(ge=0, lt=1)]


class _Recurrent(WeightedPart):
    gates: ClassVar[int]
    """How many times `units` values it works out a step."""

    units: Width = Field(examples=[64])
    """Number of outputs, and of values kept from step to step."""
    activation: ActivationField = TANH
    """Applied to the new values."""
    use_bias: bool = True
    """Whether a bias is added."""
    kernel_initializer: InitializerField = GLOROT_UNIFORM
    """First values of the weights of the inputs."""
    recurrent_initializer: InitializerField = ORTHOGONAL
    """First values of the weights of what is kept."""
    bias_initializer: BiasInitializerField = ZEROS
    """First values of the bias."""
    kernel_regularizer: RegularizerField = None
    """Penalty on the weights of the inputs."""
    recurrent_regularizer: RegularizerField = None
    """Penalty on the weights of what is kept."""
    bias_regularizer: RegularizerField = None
    """Penalty on the bias."""
    activity_regularizer: RegularizerField = None
    """Penalty on the outputs, the mean over the batch."""
    dropout: Rate = 0.0
    """Share of the inputs set to zero, in training only."""
    recurrent_dropout: Rate = 0.0
    """Share of what is kept set to zero, in training only."""
    return_sequences: bool = False
    """Whether each step's outputs come out, or the last step's only."""
    go_backwards: bool = False
    """Whether the last step comes first; a sequence comes out in that order too."""

    def applied_to(self, shape: Shape) -> Effect:
        if len(shape) != 2:
            detail = f"{self.type} needs steps and features, but its input has the shape {list(shape)}"
            raise Misfit("", f"{detail}: put a reshape before it, such as one to [28, 28] for the rows of an image")
        steps, features = shape
        products = self.gates * self.units * (features + self.units)
        weights = products + self.use_bias * self._biases()
        return Effect((steps, self.units) if self.return_sequences else (self.units,), weights, 0, steps * products)

    def _biases(self) -> int:
        return self.gates * self.units

    @property
    def detail(self) -> str:
        sequences = self.return_sequences and "sequences"
        return words(self.units, self.activation.type, sequences, self.go_backwards and "backwards")


class SimpleRNN(_Recurrent):
    """Fully connected, with the step before as further inputs."""

    type: Literal["simple_rnn"] = "simple_rnn"
    gates: ClassVar[int] = 1


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997)."""

    type: Literal["lstm"] = "lstm"
    gates: ClassVar[int] = 4
    recurrent_activation: ActivationField = SIGMOID
    """Applied to the gates."""
    unit_forget_bias: bool = True
    """Whether the forget gate's bias starts at 1."""


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al., 2014)."""

    type: Literal["gru"] = "gru"
    gates: ClassVar[int] = 3
    recurrent_activation: ActivationField = SIGMOID
    """Applied to the gates."""
    reset_after: bool = True
    """Whether the reset gate comes after the matrix product; it has a second bias then."""

    def _biases(self) -> int:
        return super()._biases() * (2 if self.reset_after else 1)
