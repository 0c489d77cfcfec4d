"""Random valid specs, as a client would write them: short and long forms mixed, defaults left out at will."""

from typing import Any

from hypothesis import strategies as st

from tests.models.spec.data_strategies import datasets, feature_networks
from tests.models.spec.network_strategies import Body, fractions, named, networks

__all__ = ["Body", "specs"]


def planned(kind: str, optional: Body, **required: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    first = {} if kind.startswith("piecewise") else {"initial_learning_rate": fractions()}
    return st.fixed_dictionaries({"type": st.just(kind), **first, **required}, optional=optional)


@st.composite
def piecewise(draw: st.DrawFn) -> Body:
    boundaries = sorted(draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=5, unique=True)))
    count = len(boundaries) + 1
    values = draw(st.lists(fractions(), min_size=count, max_size=count))
    kind = draw(st.sampled_from(["piecewise_constant_decay", "piecewise_constant"]))
    return {"type": kind, "boundaries": boundaries, "values": values}


steps = st.integers(1, 1000)
staircase = {"staircase": st.booleans()}
schedules = (
    planned("exponential_decay", staircase, decay_steps=steps, decay_rate=st.floats(0.1, 1))
    | planned("inverse_time_decay", staircase, decay_steps=steps, decay_rate=st.floats(0, 10))
    | planned(
        "polynomial_decay",
        {"end_learning_rate": fractions(), "power": st.floats(0.5, 4), "cycle": st.booleans()},
        decay_steps=steps,
    )
    | planned("cosine_decay", {"alpha": fractions()}, decay_steps=steps)
    | planned(
        "cosine_decay",
        {"alpha": fractions(), "warmup_steps": st.integers(0, 100)},
        decay_steps=steps,
        warmup_target=fractions(),
    )
    | planned(
        "cosine_decay_restarts",
        {"t_mul": st.sampled_from([1.0, 1.5, 2.0]), "m_mul": fractions(), "alpha": fractions()},
        first_decay_steps=steps,
    )
    | piecewise()
)
rates = fractions() | schedules
kept = {"learning_rate": rates, "weight_decay": st.none() | fractions()}
betas = {"beta_1": fractions(), "beta_2": fractions()}
optimizers = (
    named(["sgd"], **kept, momentum=fractions(), nesterov=st.booleans(), clipnorm=fractions())
    | named(["adam"], **kept, **betas, epsilon=fractions(), amsgrad=st.booleans())
    | named(["adamw"], **betas, learning_rate=rates, weight_decay=fractions(), amsgrad=st.booleans())
    | named(["adamax", "nadam"], **kept, **betas, epsilon=fractions())
    | named(["lion"], **kept, **betas)
    | named(["rmsprop"], **kept, rho=fractions(), momentum=fractions(), centered=st.booleans(), clipvalue=fractions())
    | named(["adagrad"], **kept, initial_accumulator_value=fractions(), global_clipnorm=fractions())
    | named(["adadelta"], **kept, rho=fractions(), epsilon=fractions())
    | named(["ftrl"], **kept, learning_rate_power=st.floats(-1, 0), l1_regularization_strength=fractions())
)
TOP_2: Any = {"type": "top_k_categorical_accuracy", "k": 2}
metrics: st.SearchStrategy[Any] = st.lists(
    st.sampled_from(["accuracy", "precision", "recall", "f1", "auc", "mae", "mean_squared_error"]), unique=True
)


@st.composite
def losses_and_ends(draw: st.DrawFn, classes: int) -> tuple[Any, int, str]:
    """A loss (None for the default), and the width and activation of a last layer that fit it."""
    distances = ["mse", "mean_squared_error", "mae", {"type": "huber", "delta": 0.5}]
    one_output = classes == 2 and draw(st.booleans())
    if one_output:
        if draw(st.booleans()):
            return "hinge", 1, draw(st.sampled_from(["tanh", "linear"]))
        loss = draw(st.sampled_from([None, "binary_crossentropy", *distances]))
        return loss, 1, "sigmoid"
    names = ["categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy"]
    if draw(st.booleans()):
        scored = st.sampled_from(
            [*({"type": name, "from_logits": True} for name in names), "hinge", "categorical_hinge"]
        )
        return draw(scored), classes, "linear"
    return draw(st.sampled_from([None, *names, *distances, "kl_divergence"])), classes, "softmax"


@st.composite
def specs(draw: st.DrawFn) -> Body:
    """A valid body."""
    dataset = draw(datasets())
    features = dataset["name"] in ("spiral", "polynomial")
    classes = dataset.get("classes") or list(range(dataset.get("n_classes", 3) if features else 10))
    if dataset["name"] == "polynomial":
        loss, outputs, last = draw(st.sampled_from([None, "mse", "mae", {"type": "huber", "delta": 0.5}])), 1, "linear"
        measured: st.SearchStrategy[Any] = st.sampled_from([[], ["mae"], ["mean_squared_error", "mae"]])
    else:
        loss, outputs, last = draw(losses_and_ends(len(classes)))
        measured = metrics if outputs == 1 else metrics | st.just(["acc", TOP_2])
    body = draw(
        st.fixed_dictionaries(
            {"network": feature_networks(outputs, last) if features else networks(outputs, last)},
            optional={
                "name": st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=20),
                "tags": st.lists(st.sampled_from(["a", "b", "c"]), unique=True),
                "optimizer": optimizers,
                "metrics": measured,
                "epochs": st.integers(1, 100_000),
                "batch_size": st.just("full") | st.integers(1, 1000),
                "seed": st.integers(0, 2**31 - 1),
                "precision": st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16", "auto"]),
                "device": st.sampled_from(["auto", "cpu", "gpu"]),
                "early_stopping": st.none() | st.just({"monitor": "loss", "patience": 3}),
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
    if dataset["name"] != "polynomial" and draw(st.booleans()):
        body["class_weight"] = {str(classes[0]): 2.0}
    body["dataset"] = dataset
    optimizer = body.get("optimizer", "adam")
    if isinstance(optimizer, str) or not isinstance(optimizer.get("learning_rate"), dict):
        body["reduce_on_plateau"] = draw(st.none() | st.just({"monitor": "loss", "factor": 0.5}))
    if loss:
        body["loss"] = loss
    return body
