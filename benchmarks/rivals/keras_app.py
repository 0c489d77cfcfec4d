"""FastAPI and `model.predict`, as tutorials have it; imports TensorFlow."""

from typing import Any

import keras
from fastapi import FastAPI, Request

from api.inference.recipe import see_digit
from benchmarks.rivals.reader import answer, model_file

app = FastAPI()
model = keras.saving.load_model(model_file("model.keras"))


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """One picture."""
    pixels = see_digit(await request.body()).pixels[None, ..., None]
    return answer(model.predict(pixels, verbose=0)[0])
