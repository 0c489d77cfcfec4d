"""Initializers as a spec names them; arguments and defaults are those of `keras.initializers`.

None has a seed of its own: the spec's `seed` and the layer's place decide.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from models.spec.base import Part, shorthand

PlainInitializerName = Literal[
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal", "lecun_uniform", "zeros", "ones"
]
Weight = Annotated[float, Field(ge=-1e6, le=1e6)]
Spread = Annotated[float, Field(ge=0, le=1e6)]


class PlainInitializer(Part):
    """An initializer without arguments."""

    type: PlainInitializerName
    """Its name."""


class RandomNormal(Part):
    """Normal; `truncated_normal` draws again beyond two standard deviations."""

    type: Literal["random_normal", "truncated_normal"] = "random_normal"
    mean: Weight = 0.0
    """Mean."""
    stddev: Spread = 0.05
    """Standard deviation."""


class RandomUniform(Part):
    """Uniform between two bounds."""

    type: Literal["random_uniform"] = "random_uniform"
    minval: Weight = -0.05
    """Lower bound."""
    maxval: Weight = 0.05
    """Upper bound, at least `minval`."""


class VarianceScaling(Part):
    """Variance scale / fan; scale 1/3, fan_in, uniform is uniform in ±1/sqrt(fan_in)."""

    type: Literal["variance_scaling"] = "variance_scaling"
    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Factor of the variance."""
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    """What the variance is divided by."""
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"
    """Shape of the distribution."""


class Constant(Part):
    """One value everywhere."""

    type: Literal["constant"] = "constant"
    value: Weight = 0.0
    """The value."""


class Orthogonal(Part):
    """An orthogonal matrix; for kernels only."""

    type: Literal["orthogonal"] = "orthogonal"
    gain: Weight = 1.0
    """Factor of the matrix."""


BiasInitializer = PlainInitializer | RandomNormal | RandomUniform | VarianceScaling | Constant
Initializer = BiasInitializer | Orthogonal
GLOROT_UNIFORM = PlainInitializer(type="glorot_uniform")
ZEROS = PlainInitializer(type="zeros")
ORTHOGONAL = Orthogonal()

_BiasName = (
    PlainInitializerName
    | Literal[
        "random_normal", "truncated_normal", "random_uniform", "variance_scaling", "constant", "normal", "uniform"
    ]
)
_ByType = Annotated[Initializer, Field(discriminator="type")]
_BiasByType = Annotated[BiasInitializer, Field(discriminator="type")]
InitializerField = Annotated[
    _ByType, BeforeValidator(shorthand, json_schema_input_type=_BiasName | Literal["orthogonal"] | _ByType)
]
BiasInitializerField = Annotated[
    _BiasByType, BeforeValidator(shorthand, json_schema_input_type=_BiasName | _BiasByType)
]
