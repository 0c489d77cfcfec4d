"""From what a client calls a model to a session ready to predict, without asking the database each time."""

import logging
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from api.errors import ApiError, BadGateway, NotFound, Unavailable
from api.inference.recipe import warm
from api.inference.sessions import Predictor, SessionCache
from api.rounds import Rounds
from api.stored import read_stored
from models import registry
from models.artifacts import ArtifactStore, StoreUnavailable
from models.database import Database
from models.registry import Artifact, ModelVersion
from models.settings import Settings

LOOK_SECONDS = 0.25
MOST_REMEMBERED = 1_000
DEFAULT_NAMES = ("mnist", "digits")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model version and the session that computes it."""

    version: ModelVersion
    predictor: Predictor


@dataclass(frozen=True)
class _Meaning:
    """What a reference meant when the models it may mean had these revisions."""

    version: ModelVersion
    revisions: dict[str, int]


class Serving:
    """Finds versions and keeps their sessions; its methods may be called from any thread.

    A thread of its own looks four times a second which models changed, works out anew what is remembered of them, and
    loads what they mean now. So every process serves a moved alias soon after, and no request waits for a model to
    load but the first for one that nobody asked for yet.
    """

    def __init__(self, settings: Settings, database: Database, store: ArtifactStore) -> None:
        self._database, self._store = database, store
        self._defaults = (settings.default_model,) if settings.default_model else DEFAULT_NAMES
        self._sessions = SessionCache(int(settings.model_cache_mb * 1_000_000))
        self._remembered: dict[str, _Meaning] = {}
        self._revisions: dict[str, int] | None = None
        self.rounds = Rounds("serving", self.look, LOOK_SECONDS)

    def remembered(self, ref: str) -> Served | None:
        """What `find` gives for `ref`, where it is known and loaded already; takes microseconds."""
        meaning = self._remembered.get(ref)
        if meaning is None:
            return None
        predictor = self._sessions.ready(_key(meaning.version))
        return None if predictor is None else Served(meaning.version, predictor)

    def find(self, ref: str) -> Served:
        """The version that `ref` means, loaded; an empty one means the default model.

        Raises:
            NotFound: there is no such model or version.
            BadGateway: its file is gone, or is not what was stored.
            Unavailable: its file cannot be read just now.
        """
        return self._load(self._learn(ref).version)

    def find_of_job(self, job_id: str) -> Served | None:
        """The version that the job became, loaded; None when it became none."""
        with self._database.read() as session:
            version = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one_or_none()
        return None if version is None else self._load(version)

    def notice(self) -> None:
        """Have what this process just changed be so for whoever asks it next; others see it at their next look."""
        # When the database went away just now, the next look makes up for it.
        with suppress(DBAPIError):
            self.look()

    def look(self) -> None:
        """Work out anew what changed since the last look, and have it ready."""
        with self._database.read() as session:
            now = registry.revisions(session)
        for ref, meaning in list(self._remembered.items()):
            if any(now.get(name, 0) != revision for name, revision in meaning.revisions.items()):
                self._refresh(ref)
        before, self._revisions = self._revisions, now
        if before is None:
            # Everything is new to this process; who asks for another model than the default one waits for it once.
            warm()
            self._refresh("")
            return
        for name in (name for name, revision in now.items() if before.get(name) != revision):
            for ref in self._refs_of(name):
                self._refresh(ref)

    def _refs_of(self, name: str) -> list[str]:
        """What people will ask for of a model that changed: its champion, its aliases, its newest version."""
        with self._database.read() as session:
            newest = registry.versions(session, name, most=1)
            aliases = registry.aliases(session, name)
        return [name, *(f"{name}@{alias}" for alias in aliases), *(f"{name}:{version.version}" for version in newest)]

    def _refresh(self, ref: str) -> None:
        """Learn what `ref` means now and load it; what cannot be is forgotten, and told to the next who asks."""
        try:
            self._load(self._learn(ref).version)
        except ApiError as error:
            if not isinstance(error, NotFound):
                log.warning("%s cannot be served: %s", ref or "the default model", error.detail)
            if (meaning := self._remembered.pop(ref, None)) is not None:
                self._sessions.drop(_key(meaning.version))

    def _learn(self, ref: str) -> _Meaning:
        names = [ref] if ref else list(self._defaults)
        with self._database.read() as session:
            # Revisions first: a change that comes in between is then seen by the next look.
            revisions = registry.revisions(session)
            version = next((found for name in names if (found := registry.resolve(session, name))), None)
        if version is None:
            self._remembered.pop(ref, None)
            raise NotFound(f"There is no model {' or '.join(names)[:140]}; GET /v1/models lists those there are.")
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        concerned = [name.partition(":")[0].partition("@")[0] for name in names]
        meaning = _Meaning(version, {name: revisions.get(name, 0) for name in concerned})
        self._remembered[ref] = meaning
        return meaning

    def _load(self, version: ModelVersion) -> Served:
        return Served(version, self._sessions.get(_key(version), lambda: self._read(version)))

    def _read(self, version: ModelVersion) -> bytes:
        with self._database.read() as session:
            artifact = session.get(Artifact, (version.job_id, "model.onnx"))
        name = _key(version)
        if artifact is None:
            raise BadGateway(f"The file of {name} is not on record.")
        try:
            return read_stored(self._store, artifact)
        except StoreUnavailable as error:
            raise Unavailable(f"The file of {name} cannot be read just now: {error}") from error


def _key(version: ModelVersion) -> str:
    """Not the row's id, which SQLite gives again once the newest row is deleted; a version's number is its own."""
    return f"{version.name}:{version.version}"
