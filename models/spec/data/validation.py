"""What to validate on after each epoch: a share of the training examples, a fold of them, the test set, or nothing."""

from typing import Annotated, Any, Literal, assert_never

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from models.datasets import validation_images
from models.spec.base import Part

MAX_FOLDS = 20


class SplitValidation(Part):
    """Validate on a share of the training examples, which are then not trained on."""

    split: Annotated[float, Field(gt=0, lt=1)]
    """The share of the training examples of the wanted classes."""


class FoldValidation(Part):
    """Validate on one of several equal parts of the training examples, and train on the others.

    The folds of one seed and one number of folds have no example in common and together hold all of them.
    """

    fold: Annotated[int, Field(ge=0, lt=MAX_FOLDS)]
    """Which part, from 0."""

    folds: Annotated[int, Field(ge=2, le=MAX_FOLDS)]
    """How many parts there are; each class in its share in every one."""


def _true(value: bool) -> bool:
    if not value:
        raise PydanticCustomError("unknown_value", "must be true")
    return value


class TestValidation(Part):
    """Validate on the test set, as tutorials do; the test figures are then no longer independent."""

    __test__ = False  # The name would make pytest collect it.

    test: Annotated[bool, AfterValidator(_true), WithJsonSchema({"type": "boolean", "const": True})]
    """Always true."""


def _one_validation(value: object) -> object:
    keys = value.keys() if isinstance(value, dict) else set()
    ways = [way for way in ({"split"}, {"fold", "folds"}, {"test"}) if way & keys]
    if len(ways) > 1 or value == {} or not (isinstance(value, dict | Part) or value == "none"):
        choices = 'must be one of {"split": 0.1}, {"fold": 0, "folds": 5}, {"test": true} and "none"'
        raise PydanticCustomError("invalid", choices)
    return value


def _tag(value: Any) -> str:
    keys = value.keys() if isinstance(value, dict) else type(value).model_fields if isinstance(value, Part) else ()
    if isinstance(value, str):
        return "<none>"
    if "test" in keys:
        return "<test>"
    return "<fold>" if "fold" in keys or "folds" in keys else "<split>"


_Validation = Annotated[
    Annotated[SplitValidation, Tag("<split>")]
    | Annotated[FoldValidation, Tag("<fold>")]
    | Annotated[TestValidation, Tag("<test>")]
    | Annotated[Literal["none"], Tag("<none>")],
    Discriminator(_tag),
]
Validation = SplitValidation | FoldValidation | TestValidation | Literal["none"]
ValidationField = Annotated[_Validation, BeforeValidator(_one_validation, json_schema_input_type=_Validation)]


def held_out(count: int, validation: Validation) -> int:
    """How many of `count` training examples are validated on instead of trained on.

    Of n examples in k folds, the first n mod k folds have one more than the others: so scikit-learn's KFold and
    StratifiedKFold cut them.
    """
    match validation:
        case SplitValidation(split=split):
            return validation_images(count, split)
        case FoldValidation(fold=fold, folds=folds):
            return count // folds + (fold < count % folds)
        case TestValidation() | "none":
            return 0
        case _:
            assert_never(validation)
