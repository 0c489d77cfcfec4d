"""What a model gets to see of what was sent, and how it came about."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.pictures import SIDE

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model gets to see: `pixels` (28, 28), 0 to 255, light on dark; the steps there; what may be wrong."""

    pixels: Float32
    steps: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def see_nothing(steps: list[str]) -> Seen:
    """An empty field, in place of a picture that shows nothing."""
    blank = "The picture is blank: no mark stands out from its ground. The answer means nothing."
    return Seen(np.zeros((SIDE, SIDE), np.float32), steps, [blank])


def see_array(pixels: Float32) -> Seen:
    """Pixels (28, 28), 0 to 255, that a client sent: taken as they are, with a warning where they look mistaken."""
    brightest = float(pixels.max(initial=0))
    warnings = []
    if brightest == 0:
        warnings.append("The array is blank: all zeros. The answer means nothing.")
    elif brightest <= 1:
        warnings.append("No value is above 1: pixels are 0 to 255, taken as they are.")
    if np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])) > 127:
        warnings.append("The ground is light: pixels are light on dark, taken as they are.")
    return Seen(pixels, [], warnings)
