"""Makes the FastAPI app: settings in, routes and a running reaper out."""

import asyncio
import gc
import logging
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import FrameType
from typing import Any

from anyio import CapacityLimiter
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from api import (
    artifacts,
    cards,
    datasets,
    docs,
    errors,
    events,
    exports,
    health,
    jobs,
    metrics,
    open_inference,
    predictions,
    registry,
    results,
    studies,
)
from api.coordinator import Coordinator
from api.deps import Room
from api.head import HeadersAlone
from api.queue import Doorbell
from api.reaper import Reaper
from api.security import Gate, check_exposure
from api.serving import Serving
from api.tailer import Tailer
from models.artifacts import ArtifactStore, check_artifacts_url
from models.database import Database
from models.settings import Settings

DESCRIPTION = """POST a JSON spec, watch it learn, get a model that answers.

Start with `POST /v1/jobs` and `{"dataset": "mnist"}`; follow `/v1/jobs/{id}/events`; send a picture to `/predict`.
Errors are RFC 9457 `application/problem+json`, with a JSON pointer to each mistake in a body."""

SWITCH_SECONDS = 0.0005


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app, for `uvicorn --factory api.main:create_app`; a setting that makes no sense ends the process."""
    settings = settings or Settings()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        check_exposure(settings)
        check_artifacts_url(settings.artifacts)
        doorbell = Doorbell(settings)
    except ValueError as error:
        sys.exit(str(error))
    app = FastAPI(
        title="Trainyard",
        version=version("trainyard"),
        description=DESCRIPTION,
        lifespan=_lifespan(settings, doorbell),
        docs_url=None,
        redoc_url=None,
        # Shows the docs' button for a key; who may ask is decided by the gate, before any route.
        dependencies=[Depends(HTTPBearer(auto_error=False))] if settings.api_keys else [],
    )
    app.add_middleware(HeadersAlone)
    app.add_middleware(Gate, settings=settings)
    errors.install(app)
    docs.install(app)
    predictions.install(app)
    for part in (
        jobs,
        studies,
        metrics,
        exports,
        artifacts,
        results,
        events,
        open_inference,
        registry,
        cards,
        datasets,
        health,
    ):
        app.include_router(part.router)
    return app


def _end_streams_on_signals(tailer: Tailer) -> None:
    """Let event streams end when the server is told to stop, which otherwise waits for its open connections."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread hears signals; a test's client runs elsewhere
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(tailer.end_streams)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)


def _lifespan(settings: Settings, doorbell: Doorbell) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database)
        store = ArtifactStore(settings.artifacts)
        room = Room(
            settings=settings,
            database=database,
            store=store,
            doorbell=doorbell,
            reaper=Reaper(settings, database, doorbell),
            coordinator=Coordinator(database, doorbell),
            tailer=Tailer(database),
            serving=Serving(settings, database, store),
            heavy=CapacityLimiter(1),
            # A store that hangs must not take all the threads, which the database needs too.
            loading=CapacityLimiter(8),
        )
        app.state.room = room
        room.tailer.start()
        rounds = (room.reaper.rounds, room.coordinator.rounds, room.serving.rounds)
        for each in rounds:
            each.start()
        _end_streams_on_signals(room.tailer)
        # Who waits for the interpreter while a thread reads numbers or draws gets it after so long, which is 5 ms by
        # default: an answer that lets go of it four times would take twenty.
        sys.setswitchinterval(SWITCH_SECONDS)
        # Modules and routes live as long as the process: the garbage collector need not walk them again and again.
        gc.collect()
        gc.freeze()
        yield
        await room.tailer.stop()
        for each in reversed(rounds):
            each.stop()
        doorbell.close()
        database.close()

    return lifespan
