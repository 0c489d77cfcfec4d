"""Random valid specs, as a client would write them: short and long forms mixed, defaults left out at will."""

from typing import Any

from hypothesis import strategies as st

Body = dict[str, Any]

PLAIN_ACTIVATIONS = ["linear", "sigmoid", "tanh", "relu", "elu", "selu", "softplus", "swish", "silu", "gelu", "softmax"]
PLAIN_INITIALIZERS = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "zeros",
    "ones",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "variance_scaling",
    "constant",
    "normal",
    "uniform",
]


def named(names: list[str], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One of `names` as a bare string, or as an object with any of `fields`."""
    return st.sampled_from(names) | st.fixed_dictionaries({"type": st.sampled_from(names)}, optional=fields)


def fractions(low: float = 0.01, high: float = 0.99) -> st.SearchStrategy[float]:
    return st.floats(low, high)


activations = named(PLAIN_ACTIVATIONS) | named(["leaky_relu"], negative_slope=fractions())
bias_initializers = (
    named(PLAIN_INITIALIZERS)
    | named(["random_normal", "truncated_normal"], mean=fractions(), stddev=fractions())
    | named(["random_uniform"], minval=st.just(-0.5), maxval=fractions())
    | named(
        ["variance_scaling"],
        scale=fractions(),
        mode=st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
        distribution=st.sampled_from(["truncated_normal", "untruncated_normal", "uniform"]),
    )
    | named(["constant"], value=fractions())
)
initializers = bias_initializers | named(["orthogonal"], gain=fractions())
weighted = {
    "activation": activations,
    "use_bias": st.booleans(),
    "kernel_initializer": initializers,
    "bias_initializer": bias_initializers,
}


def pairs(most: int) -> st.SearchStrategy[Any]:
    sides = st.integers(1, most)
    return sides | st.lists(sides, min_size=2, max_size=2)


paddings = st.sampled_from(["valid", "same"])
convolutions = st.fixed_dictionaries(
    {"type": st.just("conv2d"), "filters": st.integers(2, 6), "kernel_size": pairs(3)},
    optional={**weighted, "strides": pairs(2), "padding": paddings},
)
poolings = st.fixed_dictionaries(
    {"type": st.sampled_from(["max_pooling2d", "average_pooling2d"])},
    optional={"pool_size": pairs(2), "strides": st.none() | pairs(2), "padding": paddings},
)
normalizations = st.just("batch_normalization") | st.fixed_dictionaries(
    {"type": st.just("batch_normalization")},
    optional={"momentum": fractions(), "epsilon": fractions(), "center": st.booleans(), "scale": st.booleans()},
)
dropouts = st.fixed_dictionaries({"type": st.just("dropout"), "rate": fractions()})
activation_layers = st.fixed_dictionaries(
    # Softmax over the single channel of an image is refused.
    {"type": st.just("activation"), "activation": st.sampled_from(["relu", "tanh", "gelu"])}
)
anywhere = normalizations | dropouts | activation_layers
dense = st.fixed_dictionaries({"type": st.just("dense"), "units": st.integers(2, 8)}, optional=weighted)


@st.composite
def networks(draw: st.DrawFn, outputs: int, last: str) -> Body:
    """Layers from images to so many outputs, ending in the activation `last`."""
    images = draw(st.lists(convolutions | poolings | dense | anywhere, max_size=3))
    rows = draw(st.lists(dense | anywhere | st.just("flatten"), max_size=3))
    end = {**draw(dense), "units": outputs, "activation": last}
    return {"layers": [*images, draw(st.sampled_from(["flatten", {"type": "flatten"}])), *rows, end]}


optimizers = (
    named(["sgd"], learning_rate=fractions(), momentum=fractions(), nesterov=st.booleans(), clipnorm=fractions())
    | named(["adam"], beta_1=fractions(), beta_2=fractions(), epsilon=fractions(), amsgrad=st.booleans())
    | named(["rmsprop"], rho=fractions(), momentum=fractions(), centered=st.booleans(), clipvalue=fractions())
    | named(["adagrad"], initial_accumulator_value=fractions(), global_clipnorm=fractions())
)


@st.composite
def losses_and_ends(draw: st.DrawFn, classes: int) -> tuple[Any, int, str]:
    """A loss (None for the default), and the width and activation of a last layer that fit it."""
    one_output = classes == 2 and draw(st.booleans())
    if one_output:
        loss = draw(st.sampled_from([None, "binary_crossentropy", "mse"]))
        return loss, 1, "sigmoid"
    names = ["categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy"]
    if draw(st.booleans()):
        return {"type": draw(st.sampled_from(names)), "from_logits": True}, classes, "linear"
    return draw(st.sampled_from([None, *names, "mse", "mean_squared_error"])), classes, "softmax"


@st.composite
def specs(draw: st.DrawFn) -> Body:
    """A valid body."""
    classes = draw(st.none() | st.lists(st.integers(0, 9), min_size=2, max_size=10, unique=True))
    dataset = draw(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["mnist", "fashion_mnist", "digits"])},
            optional={
                "validation": st.sampled_from([{"split": 0.2}, {"test": True}, "none"]),
                "train_size": st.none() | st.integers(1, 100),
                "scaling": st.sampled_from(["unit", "standard", "none"]),
            },
        )
    )
    loss, outputs, last = draw(losses_and_ends(len(classes) if classes else 10))
    body = draw(
        st.fixed_dictionaries(
            {"network": networks(outputs, last)},
            optional={
                "name": st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20),
                "tags": st.lists(st.sampled_from(["a", "b", "c"]), unique=True),
                "optimizer": optimizers,
                "metrics": st.sampled_from([["accuracy"], ["acc"], []]),
                "epochs": st.integers(1, 100_000),
                "batch_size": st.just("full") | st.integers(1, 1000),
                "seed": st.integers(0, 2**31 - 1),
                "precision": st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16", "auto"]),
                "device": st.sampled_from(["auto", "cpu", "gpu"]),
                "early_stopping": st.none() | st.just({"monitor": "loss", "patience": 3}),
                "reduce_on_plateau": st.none() | st.just({"monitor": "loss", "factor": 0.5}),
                "max_seconds": st.none() | fractions(),
                "log_every": st.integers(1, 10),
                "priority": st.integers(0, 9),
                "initial_weights": st.none(),
                "spec_version": st.just(1),
                "kind": st.just("train"),
                "model": st.sampled_from(["mnist", "my-model.2"]),
            },
        )
    )
    if classes:
        dataset["classes"] = classes
        body["class_weight"] = {str(classes[0]): 2.0}
    body["dataset"] = dataset
    if loss:
        body["loss"] = loss
    return body
