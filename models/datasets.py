"""Facts about the data sets: names, shapes, sizes, class names, files and their checksums. Loads nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Recipe = Literal["digit", "plain"]
Part = Literal["x_train", "y_train", "x_test", "y_test"]


@dataclass(frozen=True, slots=True)
class IdxFile:
    """One file in the IDX format: which array it holds, its base name without `.gz`, its content and MD5 unpacked."""

    part: Part
    name: str
    count: int
    md5: str


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What is known of a data set before it is loaded. A label is an index into `classes`.

    `recipe` is how a picture sent for prediction becomes an input: `digit` cuts out, inverts, scales and centres;
    `plain` only resizes. `train_counts` has the training images of each class. `files` is empty for a data set that
    comes with an installed package. `downloads` are the files that Keras offers, by their place in Keras's cache.
    """

    name: str
    title: str
    description: str
    licence: str
    shape: tuple[int, int, int]
    train_size: int
    test_size: int
    train_counts: tuple[int, ...]
    classes: tuple[str, ...]
    recipe: Recipe
    folder: str
    files: tuple[IdxFile, ...]
    downloads: tuple[str, ...]

    @property
    def downloadable(self) -> bool:
        """Whether Keras can fetch it."""
        return bool(self.downloads)

    @property
    def archives(self) -> tuple[str, ...]:
        """Base names under which the same arrays may lie in one file, as Keras keeps MNIST."""
        return tuple(dict.fromkeys((f"{self.folder}.npz", f"{self.name}.npz"))) if self.files else ()


def _idx_files(train_images: str, train_labels: str, test_images: str, test_labels: str) -> tuple[IdxFile, ...]:
    """The four files that MNIST and its likes consist of, from the MD5 of each."""
    return (
        IdxFile("x_train", "train-images-idx3-ubyte", 60_000, train_images),
        IdxFile("y_train", "train-labels-idx1-ubyte", 60_000, train_labels),
        IdxFile("x_test", "t10k-images-idx3-ubyte", 10_000, test_images),
        IdxFile("y_test", "t10k-labels-idx1-ubyte", 10_000, test_labels),
    )


_DIGITS = tuple("0123456789")

_MNIST = DatasetFacts(
    name="mnist",
    title="MNIST",
    description="Handwritten digits, 28x28 grey, light on dark; by Y. LeCun, C. Cortes and C. Burges.",
    licence="CC BY-SA 3.0",
    shape=(28, 28, 1),
    train_size=60_000,
    test_size=10_000,
    train_counts=(5_923, 6_742, 5_958, 6_131, 5_842, 5_421, 5_918, 6_265, 5_851, 5_949),
    classes=_DIGITS,
    recipe="digit",
    folder="mnist",
    files=_idx_files(
        train_images="6bbc9ace898e44ae57da46a324031adb",
        train_labels="a25bea736e30d166cdddb491f175f624",
        test_images="2646ac647ad5339dbf082846283269ea",
        test_labels="27ae3e4e09519cfbb04c329615203637",
    ),
    downloads=("mnist.npz",),
)

_FASHION_MNIST = DatasetFacts(
    name="fashion_mnist",
    title="Fashion-MNIST",
    description="Photographs of clothing, 28x28 grey, light on dark; by Zalando Research.",
    licence="MIT",
    shape=(28, 28, 1),
    train_size=60_000,
    test_size=10_000,
    train_counts=(6_000,) * 10,
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    recipe="plain",
    folder="fashion-mnist",
    files=_idx_files(
        train_images="f4a8712d7a061bf5bd6d2ca38dc4d50a",
        train_labels="9018921c3c673c538a1fc5bad174d6f9",
        test_images="8181f5470baa50b63fa0f6fddb340f0a",
        test_labels="15d484375f8d13e6eb1aabb0c3f46965",
    ),
    downloads=(
        "fashion-mnist/train-images-idx3-ubyte.gz",
        "fashion-mnist/train-labels-idx1-ubyte.gz",
        "fashion-mnist/t10k-images-idx3-ubyte.gz",
        "fashion-mnist/t10k-labels-idx1-ubyte.gz",
    ),
)

# The test set is every fifth image of each digit in the order of the file: floor(n/5) of the n images of each.
_DIGITS_8X8 = DatasetFacts(
    name="digits",
    title="Digits (scikit-learn)",
    description=(
        "1,797 handwritten 8x8 digits that come with scikit-learn, drawn up to 28x28; "
        "by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository."
    ),
    licence="CC BY 4.0",
    shape=(28, 28, 1),
    train_size=1_442,
    test_size=355,
    train_counts=(143, 146, 142, 147, 145, 146, 145, 144, 140, 144),
    classes=_DIGITS,
    recipe="digit",
    folder="digits",
    files=(),
    downloads=(),
)

DATASETS: Mapping[str, DatasetFacts] = MappingProxyType(
    {facts.name: facts for facts in (_MNIST, _FASHION_MNIST, _DIGITS_8X8)}
)


@dataclass(frozen=True, slots=True)
class SyntheticFacts:
    """What is known of a data set that is computed; its sizes follow from the spec."""

    name: str
    title: str
    description: str
    licence: str
    shape: tuple[int, ...]
    regression: bool


SYNTHETIC: Mapping[str, SyntheticFacts] = MappingProxyType(
    {
        "spiral": SyntheticFacts(
            name="spiral",
            title="Spiral",
            description="Points in the plane on intertwined arms, one arm a class; computed from a seed.",
            licence="none needed: it is computed",
            shape=(2,),
            regression=False,
        ),
        "polynomial": SyntheticFacts(
            name="polynomial",
            title="Polynomial",
            description=(
                "Noisy values of a Chebyshev polynomial over [0, 10], to be learned as a number; computed from a "
                "seed. The test set is the curve without noise."
            ),
            licence="none needed: it is computed",
            shape=(1,),
            regression=True,
        ),
    }
)


def validation_images(count: int, split: float) -> int:
    """How many of `count` examples a validation split takes: about count * split, leaving at least one on each side.

    A split of 0 takes none.
    """
    return min(max(round(count * split), 1), max(count - 1, 0)) if split > 0 else 0


def trainable_images(facts: DatasetFacts, classes: Sequence[int] | None = None) -> int:
    """How many training images of `classes` (None: of all) there are, before any are held back for validation."""
    return sum(facts.train_counts[label] for label in (range(len(facts.classes)) if classes is None else classes))
