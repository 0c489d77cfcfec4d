"""FastAPI and ONNX Runtime by hand, in the event loop: the least that answers the question."""

from typing import Any

from fastapi import FastAPI, Request

from benchmarks.rivals.reader import Reader

app = FastAPI()
reader = Reader()


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """One picture."""
    return reader.read(await request.body())
