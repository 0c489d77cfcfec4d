"""The parts of a model card that come from the test set: the figures, and what they say about the model's limits."""

from collections.abc import Iterator, Mapping
from itertools import islice
from math import sqrt
from typing import Any

from api.markdown import code, escaped, table
from models.datasets import DATASETS
from models.spec import JobSpec
from models.spec.data import TestValidation, chosen_classes, class_labels_of, is_regression, recipe_of

MOST_CONFUSIONS = MOST_MISTAKES = 5
SMALL_TEST = 1_000
SURE = 0.9
NORMAL_95 = 1.96


def number(value: float | None) -> str:
    """A figure in four digits, short where it is whole; a dash for what was not measured or is not finite."""
    if value is None:
        return "-"
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if 0.001 <= abs(value) < 10_000 else f"{value:.4g}"
    )


def percent(share: float | None) -> str:
    """A share in per cent; a dash where there was no case."""
    return "-" if share is None else f"{100 * share:.1f} %"


def figures(measured: Mapping[str, float], evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Blocks of Markdown: figures on the test set, then class by class, or the residuals."""
    single = dict(measured)
    if evaluation.get("r2") is not None:
        single["r2"] = evaluation["r2"]
    rows = [(code(name), number(value)) for name, value in single.items()]
    yield table(("on the test set", "value"), rows, numbers=1)
    if members := evaluation.get("members"):
        yield _members(members)
    if "confusion_matrix" in evaluation:
        yield from _by_class(evaluation)
    elif "residuals" in evaluation:
        yield _residuals(evaluation)


def limits(spec: JobSpec, evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on what the model does not do, and how far its figures can be trusted."""
    if "confusion_matrix" in evaluation:
        yield from _limits_of_classes(evaluation)
    elif "residuals" in evaluation:
        yield from _limits_of_values(evaluation)
    if isinstance(spec.dataset.validation, TestValidation) and spec.kind == "train":
        yield (
            "The test set also served for validation. Where a choice was made by it, such as when to stop, the figures "
            "flatter the model."
        )
    yield from _limits_of_inputs(spec)
    if spec.kind == "train":
        yield f"All figures are of one training with the seed {spec.seed}; another seed gives somewhat different ones."


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `hits` in `count` > 0 cases (E. B. Wilson, JASA 22, 1927)."""
    share, squared = hits / count, NORMAL_95**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    reach = NORMAL_95 / (1 + squared / count) * sqrt(share * (1 - share) / count + squared / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _members(members: list[dict[str, Any]]) -> str:
    names = [name for name in members[0] if name not in ("model", "version")]
    rows = [(code(f"{m['model']}:{m['version']}"), *(number(m.get(name)) for name in names)) for m in members]
    return "The members by themselves:\n\n" + table(("member", *names), rows, numbers=len(names))


def _by_class(evaluation: Mapping[str, Any]) -> Iterator[str]:
    classes = evaluation["classes"]
    rows = [
        (_name(one), percent(one["precision"]), percent(one["recall"]), number(one["f1"]), number(one["support"]))
        for one in classes
    ]
    yield (
        "*Precision*: of the answers with this class, how many were right. *Recall*: of the examples of this class, "
        "how many were found."
    )
    yield table(("class", "precision", "recall", "f1", "test examples"), rows, numbers=4)
    if confused := list(islice(_confusions(evaluation), MOST_CONFUSIONS)):
        yield "Taken for each other most often:\n\n" + "\n".join(
            f"- {_class(classes[true])} was called {_class(classes[said])} {_times(times)}, "
            f"{percent(times / classes[true]['support'])} of all {_class(classes[true])}"
            for times, true, said in confused
        )
    if mistakes := evaluation["worst_mistakes"][:MOST_MISTAKES]:
        names = {one["label"]: _name(one) for one in classes}
        told = [
            (number(m["index"]), names[m["label"]], names[m["predicted"]], f"{m['probability']:.4f}") for m in mistakes
        ]
        yield "The surest of the wrong answers, by their place in the test set, from 0:\n\n" + table(
            ("place", "true class", "answer", "probability"), told, numbers=1
        )


def _confusions(evaluation: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    """(times, position of the true class, position of the answer) of each confusion, the most frequent first."""
    cells = [
        (times, true, said)
        for true, row in enumerate(evaluation["confusion_matrix"])
        for said, times in enumerate(row)
        if times and true != said
    ]
    yield from sorted(cells, key=lambda cell: (-cell[0], cell[1], cell[2]))


def _residuals(evaluation: Mapping[str, Any]) -> str:
    residuals = evaluation["residuals"]
    rows = [("mean", residuals["mean"]), ("standard deviation", residuals["standard_deviation"])]
    rows += [(_below(float(share)), value) for share, value in residuals["quantiles"].items()]
    told = [(name, number(value)) for name, value in rows]
    return "Residuals, truth less prediction:\n\n" + table(("residual", "value"), told, numbers=1)


def _below(share: float) -> str:
    return {0.0: "smallest", 1.0: "largest"}.get(share, f"{100 * share:g} % are below")


def _limits_of_classes(evaluation: Mapping[str, Any]) -> Iterator[str]:
    matrix = evaluation["confusion_matrix"]
    hits, count = sum(row[n] for n, row in enumerate(matrix)), sum(map(sum, matrix))
    found = [one for one in evaluation["classes"] if one["recall"] is not None]
    if found:
        worst = min(found, key=lambda one: one["recall"])
        yield (
            f"It is weakest on {_class(worst)}: it finds {percent(worst['recall'])} of them, and of what it calls so "
            f"{percent(worst['precision'])} is right."
        )
    if count:
        low, high = wilson(hits, count)
        few = "The test set is small. " if count < SMALL_TEST else ""
        yield (
            f"{few}It was right on {hits:,} of {count:,} test examples ({percent(hits / count)}); of other examples of "
            f"the same kind, {percent(low)} to {percent(high)} may be expected (95 % interval)."
        )
        most = max(evaluation["classes"], key=lambda one: one["support"])
        if low <= most["support"] / count:
            yield (
                f"That is not clearly better than always to answer {_class(most)}, which is right on "
                f"{percent(most['support'] / count)}."
            )
    sure = [mistake for mistake in evaluation["worst_mistakes"] if mistake["probability"] >= SURE]
    if sure:
        yield (
            f"It can be wrong and sure of it: its surest mistake has a probability of {sure[0]['probability']:.4f}. "
            "The probabilities were not calibrated."
        )
    else:
        yield "The probabilities were not calibrated: 0.9 need not mean right nine times in ten."
    yield (
        f"It knows {len(matrix)} classes and answers with one of them whatever it is shown; it cannot say that "
        "something is none of them."
    )


def _limits_of_values(evaluation: Mapping[str, Any]) -> Iterator[str]:
    largest = max((abs(value) for value in evaluation["residuals"]["quantiles"].values()), default=None)
    explained = evaluation["r2"]
    yield f"Its largest error on the test set is {number(largest)}." + (
        "" if explained is None else f" It explains {percent(explained)} of the variance there."
    )
    if explained is not None and explained < 0.5:
        yield "That is little: a curve by eye may do better."


def _limits_of_inputs(spec: JobSpec) -> Iterator[str]:
    dataset = spec.dataset
    if is_regression(dataset):
        yield "It learned from values between 0 and 10; what it answers beyond is a guess."
        yield "The data are computed, so the figures say nothing about measurements of anything."
        return
    chosen = chosen_classes(dataset)
    if chosen is not None and len(chosen) < len(DATASETS[dataset.name].classes):
        left = len(DATASETS[dataset.name].classes) - len(class_labels_of(dataset))
        yield f"It never saw the other {left} classes of the data set."
    if recipe_of(dataset) is None:
        yield "The data are computed, so the figures say nothing about measurements of anything."
        return
    yield (
        "Arrays are taken as they are: 28x28, 0 to 255, light on dark. A dark drawing on a light ground, or "
        "values from 0 to 1, get an answer without meaning."
    )
    yield (
        "Pictures are first made to look like the data set; where that goes wrong the answer is wrong too. "
        "`?seen=true` shows what the model was given. The figures above are of the data set's own images, not of "
        "photographs."
    )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _class(one: Mapping[str, Any]) -> str:
    return f"**{_name(one)}**"


def _name(one: Mapping[str, Any]) -> str:
    return escaped(str(one["class_name"]))
