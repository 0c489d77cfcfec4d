"""Six verdicts on why a network fails to learn, each with its evidence and what to change (docs/diagnosis.md)."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from models.diagnoses import Finding
from models.spec import JobSpec
from worker.diagnosis import patches
from worker.diagnosis.history import EpochSigns
from worker.diagnosis.reading import WAITED, Reading
from worker.diagnosis.words import evidence, listed, told

# Each number is explained, with where it comes from, in docs/diagnosis.md.
GOOD = 0.5
BLOWN_LOSS, FAR_LOSS = 2.0, 10.0
SOON, SETTLED = 10, 40
DEAD, FEWEST_UNITS = 0.8, 8
QUIET, SLOW_QUIET, DEEP = 1e-4, 1e-2, 3
STALLED = 0.02
LOW_RATE, LOW_GAIN, LOW_SKILL = 1 / 20, 0.15, 0.6
LITTLE_SKILL, LITTLE_GAIN, LITTLE_EPOCHS, LITTLE_STEPS = 0.6, 0.2, 4, 150
LINEAR_EPOCHS, LINEAR_GAIN = 10, 0.05
GAP, LEARNED, WORSE = 0.08, 0.95, 1.05


def diagnose(spec: JobSpec, history: Sequence[EpochSigns]) -> list[Finding]:
    """What keeps a training of `spec` from learning, as far as it has come; the most certain verdict first.

    The first five exclude each other, since each explains what the later ones go by: dead units may be the consequence
    of a learning rate under which everything explodes, and a network of dead units does not reach what it has the
    capacity for.

    Args:
        spec: the job as it is on record.
        history: its epochs in order, all or some of them, of any number.
    """
    if not history:
        return []
    reading = Reading(spec, history)
    exclusive = [_exploding, _dead, _vanishing, _too_low, _too_little]
    if reading.is_fast and reading.steps < SETTLED:
        exclusive = [_exploding]  # Large steps bring about the others; whether they do is seen a little later.
    first = next((found for rule in exclusive if (found := rule(reading))), None)
    return [found for found in (first, _overfitting(reading)) if found is not None]


def _exploding(reading: Reading) -> Finding | None:
    """The loss is no number, or far above that of guessing in some epoch, or steps are too large to learn by."""
    now = reading.now
    broken = [name for name in ("loss", "val_loss") if not isfinite(now.metrics.get(name, 0.0))]
    broken += [f"weight_norm of {each.layer}" for each in reading.layers if not isfinite(each.weight_norm)]
    largest = max(each.metrics["loss"] for each in reading.history)
    bound = BLOWN_LOSS * reading.guessing if reading.guessing is not None else 10 * reading.history[0].metrics["loss"]
    too_fast = reading.highest_rate > reading.rates.highest and not _does_well(reading)
    far_off = reading.guessing is not None and now.metrics["loss"] > FAR_LOSS * reading.guessing
    thrown = (reading.unlearned and largest > bound) or far_off
    if not (broken or (too_fast and reading.steps >= SOON) or (thrown and reading.steps >= SETTLED)):
        return None
    known = evidence(
        loss=now.metrics["loss"],
        largest_loss=largest,
        loss_of_guessing=reading.guessing,
        learning_rate=reading.highest_rate,
        usual_learning_rate=reading.rates.usual,
    )
    patch, what = _calmer(reading, nan=bool(broken))
    if broken:
        sentence = (
            f"After epoch {now.epoch} the {broken[0]} is no number any more: the weights have grown beyond measure."
        )
    elif largest > bound and reading.guessing is not None:
        sentence = (
            f"The loss rose to {told(largest)}, where guessing has {told(reading.guessing)}: the steps are so large "
            "that each makes the network worse."
        )
    else:
        sentence = (
            f"With a learning rate of {told(reading.highest_rate)}, where {told(reading.rates.usual)} is usual, each "
            "step is so large that it jumps over what it should reach."
        )
    return Finding(
        now.epoch, "exploding_or_diverged", known, sentence, what, patch, _slower(reading, patch, bool(broken))
    )


def _does_well(reading: Reading) -> bool:
    """Whether it is half way from guessing to perfect, with a loss that is not above that of guessing."""
    if reading.skill is None:
        return not reading.unlearned
    far_off = reading.guessing is not None and reading.now.metrics["loss"] > reading.guessing
    return reading.skill >= GOOD and not far_off


def _calmer(reading: Reading, nan: bool) -> tuple[dict[str, Any], str]:
    """A patch with smaller steps, and what it does."""
    spec, (usual, _) = reading.spec, reading.rates
    raw, wide = patches.with_scaled_pixels(spec), patches.with_scaled_weights(spec)
    rate = reading.highest_rate / 10 if reading.highest_rate > 0 and not reading.is_fast else usual
    slower = patches.with_rate(rate) if reading.is_fast or not raw else {}
    patch = {**slower, **raw, **wide, **(patches.with_clipping(spec) if nan else {})}
    words = [f"a learning rate of {told(rate)}"] if slower else []
    words += ["pixels from 0 to 1 in place of 0 to 255"] if raw else []
    words += ["initial weights that suit the width of each layer"] if wide else []
    words += ["gradients cut to a norm of 1"] if "/optimizer/clipnorm" in patch else []
    return patch, f"Try {listed(words)}, so that the steps become small enough to follow the slope of the loss."


def _slower(reading: Reading, patch: dict[str, Any], broken: bool) -> dict[str, Any] | None:
    """The same for the running job, unless the network is wrecked already, or the rate is not what is wrong."""
    guessing = reading.guessing
    is_far_off = guessing is None or not reading.now.metrics["loss"] <= 1.1 * guessing
    is_dead = any((each.dead_share or 0) >= 0.5 or (each.saturated_share or 0) >= 0.5 for each in reading.layers)
    if broken or is_far_off or is_dead or list(patch) != ["/optimizer/learning_rate"]:
        return None
    return {"learning_rate": patch["/optimizer/learning_rate"]}


def _dead(reading: Reading) -> Finding | None:
    """Most units of some layer answer no example at all, and the network does badly."""
    worst = max(reading.layers, key=lambda each: each.dead_share or 0, default=None)
    if worst is None or worst.dead_share is None or worst.dead_share < DEAD:
        return None
    learns = not reading.unlearned if reading.skill is None else reading.skill >= GOOD
    units = reading.units(worst.layer)
    if learns or units < FEWEST_UNITS:
        return None
    dead = round(worst.dead_share * units)
    known = evidence(layer=worst.layer, dead_share=worst.dead_share, units=units, **_skill(reading))
    sentence = (
        f"{dead} of the {units} units of {worst.layer} give 0 for every example: no gradient comes through them, so "
        "they cannot learn, and what lies before them learns little."
    )
    advice = "Try initial weights after He and biases of 0, with which about half of the examples move each unit."
    patch, is_leaky = patches.with_living_units(reading.spec)
    if is_leaky:
        advice = "Try leaky relu, which has a slope below 0 too, so that no unit is lost for good."
    if is_leaky and reading.is_fast:
        patch |= patches.with_rate(reading.rates.usual)
        advice += f" And a learning rate of {told(reading.rates.usual)}: large steps kill units."
    return Finding(reading.now.epoch, "dead_units", known, sentence, advice, patch)


def _vanishing(reading: Reading) -> Finding | None:
    """The gradient of the first layer is nothing beside that of the last."""
    layers = reading.layers
    if len(layers) < DEEP or not reading.unlearned:
        return None
    first, last = layers[0], layers[-1]
    if any(each.dead_share == 1 and reading.units(each.layer) < FEWEST_UNITS for each in layers):
        return None  # No gradient comes through it: it is too narrow to have one unit alive.
    if not 0 < last.gradient_norm < float("inf"):
        return None
    ratio = first.gradient_norm / last.gradient_norm
    recent = reading.now.epoch - reading.looked < WAITED <= reading.now.epoch
    stalled = recent and reading.gain_since(reading.now.epoch - 2) < STALLED
    if not (ratio < QUIET or (ratio < SLOW_QUIET and stalled)):
        return None
    known = evidence(
        first_layer=first.layer,
        first_gradient_norm=first.gradient_norm,
        last_layer=last.layer,
        last_gradient_norm=last.gradient_norm,
        **_skill(reading),
    )
    how = f"{told(1 / ratio)} times smaller than that of {last.layer}" if ratio else "0"
    sentence = f"The gradient of {first.layer} is {how}, so the first layers hardly learn."
    advice = (
        "Try relu and initial weights after He in the hidden layers: gradients then keep their size on the way back."
    )
    return Finding(reading.now.epoch, "vanishing_gradients", known, sentence, advice, patches.with_relu(reading.spec))


def _too_low(reading: Reading) -> Finding | None:
    """The rate is far below the usual one, and at this pace the loss will hardly have fallen in the end."""
    now, usual = reading.now, reading.rates.usual
    waited = now.epoch >= WAITED or (now.epoch == reading.spec.epochs and len(reading.history) > 1)
    if not waited or (reading.skill or 0) > LOW_SKILL:
        return None
    if reading.skill is None and reading.spec.initial_weights is not None:
        return None  # What it begins with may be as good as it gets.
    if reading.highest_rate * reading.momentum > LOW_RATE * usual or reading.gain_at_the_end > LOW_GAIN:
        return None
    if reading.rate_to_come > LOW_RATE * usual:
        return None
    known = evidence(
        learning_rate=now.learning_rate,
        usual_learning_rate=usual,
        loss=now.metrics["loss"],
        first_loss=reading.history[0].metrics["loss"],
        update_ratio=max((each.update_ratio for each in reading.layers), default=None),
    )
    sentence = (
        f"The loss went from {told(reading.history[0].metrics['loss'])} to {told(now.metrics['loss'])} in "
        f"{now.epoch} epochs: with a learning rate of {told(now.learning_rate)} the steps are too small."
    )
    advice = f"Try a learning rate of {told(usual)}, which is usual for {reading.spec.optimizer.type}."
    live = {"learning_rate": usual}
    return Finding(now.epoch, "learning_rate_too_low", known, sentence, advice, patches.with_rate(usual), live)


def _too_little(reading: Reading) -> Finding | None:
    """What was learned stays poor and hardly gets better, where all has to pass through very few numbers."""
    now = reading.now
    skill = reading.skill_in("")
    if now.epoch < LITTLE_EPOCHS or reading.steps < LITTLE_STEPS or skill is None or skill > LITTLE_SKILL:
        return None
    if reading.gain_since(now.epoch - LITTLE_EPOCHS + 1) > LITTLE_GAIN:
        return None
    narrowest = reading.narrowest
    known = evidence(**_skill(reading))
    if reading.is_linear and now.epoch >= LINEAR_EPOCHS and reading.gain_since(now.epoch // 2) < LINEAR_GAIN:
        patch = patches.with_hidden_layer(reading.spec)
        sentence = (
            "The network has no hidden layer: it can only weigh its inputs and add them up, which is not enough here."
        )
        advice = "Try a hidden layer of 64 units with relu."
    elif narrowest is not None and 2 * narrowest.size < reading.classes:
        known |= {"layer": narrowest.layer, "values": narrowest.size, "classes": reading.classes}
        widened = reading.with_units(narrowest.layer)
        patch = patches.with_width(reading.spec, widened, below=reading.classes / 2)
        values = "a single number" if narrowest.size == 1 else f"{narrowest.size} numbers"
        sentence = (
            f"All that the network knows of an example has to pass through {values} behind {narrowest.layer}, which is "
            f"too little to tell {reading.classes} classes apart."
        )
        advice = f"Try a wider {widened}, so that there is room for what tells the classes apart."
    else:
        return None
    return Finding(now.epoch, "too_little_capacity", known, sentence, advice, patch) if patch else None


def _overfitting(reading: Reading) -> Finding | None:
    """Training examples are known by heart, and the others get no better, or worse, since some epochs."""
    now = reading.now
    if "val_loss" not in now.metrics or now.epoch < 2 * WAITED:
        return None
    best = min(reading.history, key=lambda each: each.metrics["val_loss"])
    since = now.epoch - best.epoch
    loss, worse = now.metrics["loss"], now.metrics["val_loss"]
    accuracy, unseen = now.metrics.get("accuracy"), now.metrics.get("val_accuracy")
    if accuracy is not None and unseen is not None:
        apart = accuracy >= LEARNED and accuracy - unseen >= GAP
    else:
        apart = loss < worse / 4
    if not apart or since < WAITED or worse < WORSE * best.metrics["val_loss"]:
        return None
    known = evidence(
        loss=loss,
        val_loss=worse,
        best_val_loss=best.metrics["val_loss"],
        best_epoch=best.epoch,
        accuracy=accuracy,
        val_accuracy=unseen,
    )
    shares = "" if accuracy is None or unseen is None else f" (accuracy {accuracy:.0%} against {unseen:.0%})"
    sentence = (
        f"The loss of the training examples is {told(loss)}, that of unseen ones {told(worse)}{shares}, and was best "
        f"in epoch {best.epoch}: the network learns its examples by heart."
    )
    patch = patches.against_overfitting(reading.spec)
    means = "more examples" if "/dataset/train_size" in patch else "dropout or a penalty on large weights"
    advice = f"Try {means}, and to stop when val_loss no longer gets better, with the weights of the best epoch."
    return Finding(now.epoch, "overfitting", known, sentence, advice, patch)


def _skill(reading: Reading) -> dict[str, Any]:
    """The figures that say how little was learned."""
    metrics = reading.now.metrics
    return {"loss": metrics["loss"], "loss_of_guessing": reading.guessing, "accuracy": metrics.get("accuracy")}
