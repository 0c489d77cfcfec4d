"""An endpoint that reads the body and does nothing: what FastAPI and uvicorn take by themselves."""

from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/empty")
async def empty(request: Request) -> Response:
    """Nothing."""
    await request.body()
    return Response(b"{}", media_type="application/json")
