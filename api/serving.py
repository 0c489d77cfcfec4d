"""From what a client calls a model to a session ready to predict."""

import hashlib
import time
from dataclasses import dataclass

from sqlalchemy import select

from api.errors import NotFound, Unavailable
from api.inference.sessions import Predictor, SessionCache
from models import registry
from models.artifacts import ArtifactStore
from models.database import Database
from models.registry import Artifact, ModelVersion
from models.settings import Settings

# A moved champion is served within this time; every request would otherwise ask the database.
REMEMBERED_SECONDS = 0.5
MOST_REMEMBERED = 1_000


@dataclass(frozen=True)
class Served:
    """A model version and the session that computes it."""

    version: ModelVersion
    predictor: Predictor


class Serving:
    """Finds versions and keeps their sessions; its methods may be called from any thread."""

    def __init__(self, settings: Settings, database: Database, store: ArtifactStore) -> None:
        self._settings, self._database, self._store = settings, database, store
        self._sessions = SessionCache(int(settings.model_cache_mb * 1_000_000))
        self._remembered: dict[str, tuple[float, Served]] = {}

    def remembered(self, ref: str) -> Served | None:
        """What `find` gave for `ref` within the last half second."""
        at, served = self._remembered.get(ref, (0.0, None))
        return served if time.monotonic() - at < REMEMBERED_SECONDS else None

    def find(self, ref: str) -> Served:
        """The version that `ref` means, loaded; an empty one means the default model.

        Raises:
            NotFound: there is no such model or version.
            Unavailable: its file cannot be read, or is not what was stored.
        """
        names = [ref] if ref else self._default_names()
        with self._database.read() as session:
            version = next((found for name in names if (found := registry.resolve(session, name))), None)
        if version is None:
            raise NotFound(f"There is no model {' or '.join(names)[:140]}; GET /v1/models lists those there are.")
        served = self._load(version)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[ref] = (time.monotonic(), served)
        return served

    def _default_names(self) -> list[str]:
        return [self._settings.default_model] if self._settings.default_model else ["mnist", "digits"]

    def find_of_job(self, job_id: str) -> Served | None:
        """The version that the job became, loaded; None when it became none."""
        with self._database.read() as session:
            version = session.scalars(select(ModelVersion).where(ModelVersion.job_id == job_id)).one_or_none()
        return None if version is None else self._load(version)

    def _load(self, version: ModelVersion) -> Served:
        return Served(version, self._sessions.get(str(version.id), lambda: self._read(version)))

    def _read(self, version: ModelVersion) -> bytes:
        with self._database.read() as session:
            artifact = session.get(Artifact, (version.job_id, "model.onnx"))
        name = f"{version.name}:{version.version}"
        if artifact is None:
            raise Unavailable(f"The file of {name} is not on record.")
        try:
            data = self._store.read(artifact.key)
        except OSError as error:
            raise Unavailable(f"The file of {name} cannot be read from the artifact store just now.") from error
        if hashlib.sha256(data).hexdigest() != artifact.sha256:
            raise Unavailable(f"The file of {name} is not what was stored: its checksum differs.")
        return data
