"""Makes the FastAPI app: settings in, routes and a running reaper out."""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from types import FrameType
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError
from starlette.middleware.cors import CORSMiddleware

from api import (
    artifacts,
    cards,
    changes,
    datasets,
    diagnoses,
    docs,
    errors,
    events,
    exports,
    health,
    jobs,
    keys,
    metrics,
    open_inference,
    predictions,
    prometheus,
    registry,
    requests,
    results,
    safe_headers,
    studies,
)
from api.coordinator import Coordinator
from api.deps import Room
from api.disk import Disk
from api.head import HeadersAlone
from api.housekeeping import Housekeeping
from api.keyring import LOOK_SECONDS, Keyring
from api.queue import Doorbell
from api.queue_view import QueueWatch
from api.rates import Rates
from api.reaper import Reaper
from api.request_ids import RequestIds
from api.rounds import Rounds
from api.security import CORS, Gate
from api.serving import Serving
from api.tailer import Tailer
from models import logs
from models.artifacts import ArtifactStore, check_artifacts_url
from models.database import Database
from models.exposure import check_exposure
from models.new_store import prepare_store
from models.settings import Settings

DESCRIPTION = """POST a JSON spec, watch it learn, get a model that answers.

Start with `POST /v1/jobs` and `{"dataset": "mnist"}`; follow `/v1/jobs/{id}/events`; send a picture to `/predict`.
Errors are RFC 9457 `application/problem+json`, with a JSON pointer to each mistake in a body."""

SWITCH_SECONDS = 0.0005
# Python's own, but all that lives is walked a fifth as often: with a thousand event streams that holds up everybody
# for a tenth of a second (measured), and it came with every quarter of them that was new.
COLLECT = (700, 10, 50)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app, for `uvicorn --factory api.main:create_app`; a setting that makes no sense ends the process."""
    settings = settings or Settings()
    logs.set_up(settings)
    try:
        check_exposure(settings)
        check_artifacts_url(settings.artifacts)
        doorbell = Doorbell(settings)
        rates = Rates(settings)
    except ValueError as error:
        sys.exit(str(error))
    keyring = Keyring(key.get_secret_value() for key in settings.api_keys)
    app = FastAPI(
        title="Trainyard",
        version=version("trainyard"),
        description=DESCRIPTION,
        lifespan=_lifespan(settings, doorbell, keyring),
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(HeadersAlone)
    app.add_middleware(Gate, settings=settings, keyring=keyring, rates=rates)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, **CORS)
    safe_headers.install(app)
    app.state.figures = prometheus.Figures()
    app.add_middleware(RequestIds, figures=app.state.figures, access_log=settings.access_log)
    errors.install(app)
    docs.install(app)
    predictions.install(app)
    for part in (
        jobs,
        requests,
        changes,
        studies,
        keys,
        metrics,
        diagnoses,
        exports,
        artifacts,
        results,
        events,
        open_inference,
        registry,
        cards,
        datasets,
        health,
        prometheus,
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


def _lifespan(settings: Settings, doorbell: Doorbell, keyring: Keyring) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings.database)
        store = ArtifactStore(settings.artifacts, make=False)
        # Where the database does not answer, the workers, who wait for it, make a new store's folder.
        with suppress(DBAPIError), database.read() as session:
            prepare_store(session, store)
        room = Room(
            settings=settings,
            database=database,
            store=store,
            doorbell=doorbell,
            reaper=Reaper(settings, database, doorbell),
            queue_watch=QueueWatch(settings),
            coordinator=Coordinator(database, doorbell, settings.max_parameters),
            tailer=Tailer(database),
            serving=Serving(settings, database, store),
            keyring=keyring,
            disk=Disk(settings, store),
            housekeeping=Housekeeping(settings, database, store),
            heavy=CapacityLimiter(1),
            # A store that hangs must not take all the threads, which the database needs too.
            loading=CapacityLimiter(8),
        )
        app.state.room = room
        whole = prometheus.WholeService(database, room.reaper)
        app.state.figures.tell_also(whole)
        health.tell_of_old_tables(database)
        room.tailer.start()
        # Before the first request: which of them need a key must not depend on how quick a thread is.
        keyring.open(database)
        looking = Rounds("keys", keyring.look, LOOK_SECONDS)
        busy = (doorbell, room.reaper, room.coordinator, room.serving, room.housekeeping, whole)
        rounds = (looking, *(each.rounds for each in busy))
        for each in rounds:
            each.start()
        _end_streams_on_signals(room.tailer)
        # Who waits for the interpreter while a thread reads numbers or draws gets it after so long, which is 5 ms by
        # default: an answer that lets go of it four times would take twenty.
        sys.setswitchinterval(SWITCH_SECONDS)
        # Modules and routes live as long as the process: the garbage collector need not walk them again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT)
        yield
        await room.tailer.stop()
        for each in reversed(rounds):
            each.stop()
        doorbell.close()
        database.close()

    return lifespan
