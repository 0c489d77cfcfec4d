"""Random valid data sets, as a client would write them: some by name alone, defaults left out at will."""

from typing import Any

from hypothesis import strategies as st

from tests.models.spec.network_strategies import Body, anywhere, dense, fractions

validations: st.SearchStrategy[Any] = st.sampled_from(
    [{"split": 0.2}, {"test": True}, "none", {"fold": 0, "folds": 2}, {"fold": 4, "folds": 5}]
)
augmentations = st.none() | st.fixed_dictionaries(
    {}, optional={"rotation": fractions(0, 0.5), "translation": fractions(0, 0.5), "zoom": fractions(0, 0.5)}
)
image_datasets = st.fixed_dictionaries(
    {"name": st.sampled_from(["mnist", "fashion_mnist", "digits"])},
    optional={
        "validation": validations,
        "train_size": st.none() | st.integers(1, 100),
        "classes": st.none() | st.lists(st.integers(0, 9), min_size=2, max_size=10, unique=True),
        "scaling": st.sampled_from(["unit", "standard", "none"]),
        "augmentation": augmentations | st.just({"noise": 0.25}),
    },
)
computed = {
    "seed": st.integers(0, 2**31 - 2),
    "samples": st.integers(20, 200),
    "validation": validations,
    "train_size": st.none() | st.integers(1, 10),
}
spirals = st.fixed_dictionaries({"name": st.just("spiral")}, optional={**computed, "n_classes": st.integers(2, 10)})
polynomials = st.fixed_dictionaries(
    {"name": st.just("polynomial")},
    optional={
        **computed,
        "degree": st.integers(1, 10),
        "noise": fractions(0, 10),
        "standardize": st.booleans(),
        "train_size": st.none() | st.integers(1, 5),
    },
)


def datasets() -> st.SearchStrategy[Body]:
    """A data set of any kind, images half of the time."""
    return image_datasets | image_datasets | spirals | polynomials


@st.composite
def feature_networks(draw: st.DrawFn, outputs: int, last: str) -> Body:
    """Layers for features, ending in so many outputs and the activation `last`."""
    hidden = draw(st.lists(dense | anywhere, max_size=3))
    return {"layers": [*hidden, {**draw(dense), "units": outputs, "activation": last, "trainable": True}]}
