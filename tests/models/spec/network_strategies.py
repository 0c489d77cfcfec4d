"""Random valid networks: layers, graphs and presets, short and long forms mixed, defaults left out at will."""

from typing import Any

from hypothesis import strategies as st

Body = dict[str, Any]

PLAIN_ACTIVATIONS = ["linear", "sigmoid", "tanh", "relu", "elu", "selu", "softplus", "swish", "silu", "gelu", "softmax"]
PRESETS = ["softmax_regression", "mlp", "deep_mlp", "lenet5", "cnn", "resnet_small"]
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


def layer(kind: str, optional: Body | None = None, **required: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    whole = st.fixed_dictionaries({"type": st.just(kind), **required}, optional=optional or {})
    return whole if required else st.just(kind) | whole


def pairs(most: int) -> st.SearchStrategy[Any]:
    sides = st.integers(1, most)
    return sides | st.lists(sides, min_size=2, max_size=2)


leaky = named(["leaky_relu"], negative_slope=fractions())
# Softmax over the single channel of an image is refused.
elementwise = named([name for name in PLAIN_ACTIVATIONS if name != "softmax"]) | leaky
activations = named(PLAIN_ACTIVATIONS) | leaky
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
regularizers = (
    st.none()
    | named(["l1"], l1=fractions())
    | named(["l2"], l2=fractions())
    | named(["l1_l2"], l1=fractions(), l2=fractions())
)
trainable = {"trainable": st.booleans()}


def weights(*roles: str) -> Body:
    """The fields of a layer with a bias and these other weights."""
    started = {f"{role}_initializer": initializers for role in roles}
    penalised = {f"{role}_regularizer": regularizers for role in (*roles, "bias", "activity")}
    bias = {"use_bias": st.booleans(), "bias_initializer": bias_initializers}
    return {**started, **penalised, **bias, **trainable, "activation": activations}


paddings = st.sampled_from(["valid", "same"])
windows = {"strides": pairs(2), "padding": paddings}
even = {"strides": st.integers(1, 2) | st.just([2, 2]), "padding": paddings}
multiplier = {"depth_multiplier": st.integers(1, 2)}
small = st.integers(2, 6)
dense = layer("dense", weights("kernel"), units=st.integers(2, 8))
image_layers = (
    layer("conv2d", {**weights("kernel"), **windows}, filters=small, kernel_size=pairs(3))
    | layer(
        "depthwise_conv2d",
        {**weights("depthwise"), **even, **multiplier, "activation": elementwise},
        kernel_size=pairs(3),
    )
    | layer(
        "separable_conv2d",
        {**weights("depthwise", "pointwise"), **even, **multiplier},
        filters=small,
        kernel_size=pairs(3),
    )
    | layer("max_pooling2d", {"pool_size": pairs(2), "strides": st.none() | pairs(2), "padding": paddings})
    | layer("average_pooling2d", {"pool_size": pairs(2), "strides": st.none() | pairs(2), "padding": paddings})
    | layer("spatial_dropout2d", rate=fractions())
)
normalized = {"epsilon": fractions(), "center": st.booleans(), "scale": st.booleans(), **trainable}
anywhere = (
    layer("batch_normalization", {**normalized, "momentum": fractions()})
    | layer("layer_normalization", normalized)
    | layer("dropout", rate=fractions())
    | layer("gaussian_noise", stddev=fractions())
    | layer("activation", activation=elementwise)
)
image_ends: st.SearchStrategy[list[Any]] = st.sampled_from(
    [
        ["flatten"],
        [{"type": "flatten"}],
        ["global_average_pooling2d"],
        [{"type": "global_average_pooling2d", "keepdims": True}, {"type": "reshape", "target_shape": [-1]}],
    ]
)
steps = st.sampled_from([[28, 28], [-1, 112], [4, -1]])
recurrent_fields = {
    **weights("kernel", "recurrent"),
    "dropout": fractions(),
    "recurrent_dropout": fractions(),
    "go_backwards": st.booleans(),
}
gated = {**recurrent_fields, "recurrent_activation": activations}


def recurrent(sequences: bool) -> st.SearchStrategy[Any]:
    units: Body = {"units": st.integers(2, 5), **({"return_sequences": st.just(True)} if sequences else {})}
    return (
        layer("simple_rnn", recurrent_fields, **units)
        | layer("lstm", {**gated, "unit_forget_bias": st.booleans()}, **units)
        | layer("gru", {**gated, "reset_after": st.booleans()}, **units)
    )


@st.composite
def layers(draw: st.DrawFn, end: Body) -> Body:
    """Layers from images to `end`, through convolutions or, as rows, through recurrent layers."""
    if draw(st.booleans()):
        first = [*draw(st.lists(image_layers | dense | anywhere, max_size=3)), *draw(image_ends)]
    else:
        rows = {"type": "reshape", "target_shape": draw(steps)}
        through = draw(st.lists(recurrent(sequences=True) | dense | anywhere, max_size=2))
        first = [rows, *through, draw(recurrent(sequences=False) | st.just("flatten"))]
    return {"layers": [*first, *draw(st.lists(dense | anywhere | st.just("flatten"), max_size=2)), end]}


@st.composite
def graphs(draw: st.DrawFn, end: Body) -> Body:
    """A stem, blocks that go straight on or branch and meet again, and `end`; named and ordered at random."""
    letters = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=3)
    names = iter([f"n{text}" for text in draw(st.lists(letters, min_size=20, max_size=20, unique=True))])
    nodes: Body = {}

    def put(what: Any, *inputs: str) -> str:
        name = next(names)
        one = len(inputs) == 1 and draw(st.booleans())
        nodes[name] = {"layer": what, "inputs": inputs[0] if one else list(inputs)}
        return name

    def convolution(filters: int, source: str) -> str:
        fields = {"type": "conv2d", "filters": filters, "kernel_size": 3, "padding": "same"}
        return put({**fields, **draw(st.fixed_dictionaries({}, optional=weights("kernel")))}, source)

    width = draw(st.integers(2, 3))
    top = put({"type": "average_pooling2d", "pool_size": 4}, "input")
    top = convolution(width, top)
    for _ in range(draw(st.integers(0, 3))):
        match draw(st.sampled_from(["on", "add", "concatenate"])):
            case "on":
                top = put(draw(anywhere), top)
            case "add":
                top = put(draw(named(["add"])), convolution(width, top), top, *[top] * draw(st.integers(0, 1)))
            case _:
                aside = convolution(2, top)
                top = put(draw(named(["concatenate"], axis=st.just(-1))), top, put(draw(anywhere), aside))
                width += 2
    for what in draw(image_ends):
        top = put(what, top)
    put(end, top)
    return {"graph": {name: nodes[name] for name in draw(st.permutations(list(nodes)))}}


@st.composite
def networks(draw: st.DrawFn, outputs: int, last: str) -> Body:
    """A network from images to so many outputs that ends in the activation `last`, or a preset."""
    end = {**draw(dense), "units": outputs, "activation": last, "trainable": True}
    return draw(layers(end) | graphs(end) | st.fixed_dictionaries({"preset": st.sampled_from(PRESETS)}))
