"""GET /metrics: figures for Prometheus, of this process and of the whole service as the database has it.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from importlib.metadata import version
from itertools import accumulate
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from starlette.types import Scope

from api.reaper import Reaper
from api.rounds import Rounds
from models.database import Database, now
from models.jobs import Job, Status
from models.messages import QUEUES
from models.registry import ModelVersion
from models.workers import WorkerStatus, all_workers

# However often it is asked, the database is asked no more often than that.
FRESH_SECONDS = 2.0
# These read every row: 70 to 190 ms for 100,000 jobs.
SUMS_SECONDS = 30.0
UNASKED_SECONDS = 3600.0
MOST_SERIES = 500
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BOUNDS = (*(str(bound) for bound in BUCKETS), "+Inf")
TEXT: dict[str, Any] = {"schema": {"type": "string"}}

router = APIRouter(tags=["health"])


class Figures(Collector):
    """What this process counts: in plain numbers, by the event loop alone; the library's own take ten times as long."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._whole: Collector | None = None
        self._requests: dict[tuple[str, str, int], int] = {}
        self._predictions: dict[tuple[str, int], _Latency] = {}

    def tell_also(self, whole: Collector) -> None:
        """Have the figures of the database too, from the time when there is one."""
        if self._whole is not None:
            self.registry.unregister(self._whole)
        self._whole = whole
        self.registry.register(whole)

    def answered(self, scope: Scope, status: int, seconds: float, served: ModelVersion | None) -> None:
        """Count a request, and where `served` made a prediction, that too."""
        requests = self._requests
        key = (scope["method"], getattr(scope.get("route"), "path", OTHER), status)
        if key in requests:
            requests[key] += 1
        else:
            self._count_first(*key)
        if served is not None and status == 200:
            latency = self._predictions.get((served.name, served.version)) or self._new_version(served)
            latency.counts[bisect_left(BUCKETS, seconds)] += 1
            latency.seconds += seconds

    def _count_first(self, method: str, route: str, status: int) -> None:
        key = (method if method in METHODS else OTHER, route, status)
        if len(self._requests) >= MOST_SERIES:
            key = (OTHER, OTHER, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def _new_version(self, served: ModelVersion) -> "_Latency":
        full = len(self._predictions) >= MOST_SERIES
        return self._predictions.setdefault((OTHER, 0) if full else (served.name, served.version), _Latency())

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering it need not make the figures."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """The metrics of this process."""
        build = GaugeMetricFamily("trainyard_build_info", "Always 1; the version.", labels=["version"])
        build.add_metric([version("trainyard")], 1)
        yield build
        requests = CounterMetricFamily(
            "trainyard_http_requests",
            "Requests that this process answered; status 0: the client went away.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in self._requests.copy().items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        latencies = HistogramMetricFamily(
            "trainyard_prediction_seconds",
            "Predictions that this process made: from a request's headers to the end of its answer.",
            labels=["model", "version"],
        )
        for (name, number), latency in self._predictions.copy().items():
            totals = accumulate(latency.counts.copy())
            buckets = list(zip(BOUNDS, totals, strict=True))
            latencies.add_metric([name, str(number) if number else OTHER], buckets, latency.seconds)
        yield latencies


class _Latency:
    """Of one model version: how many answers took up to each bound and no less, and the seconds of all."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class WholeService(Collector):
    """What the database knows, the same from every API process; of `reaper` it takes which workers live.

    Of jobs that end and of epochs it counts what was added since this process looked first: rows that are deleted take
    nothing away, so that Prometheus's `rate` holds.
    """

    def __init__(self, database: Database, reaper: Reaper) -> None:
        self._database, self._reaper = database, reaper
        # What was there before is not to be counted; later looks come with whoever asks.
        self.rounds = Rounds("metrics", self.look, UNASKED_SECONDS)
        self._lock = threading.Lock()
        self._kept: tuple[float, list[Metric]] = (float("-inf"), [])
        self._summed = float("-inf")
        self._seen: dict[tuple[str, str], tuple[int, int]] | None = None
        self._epochs = 0
        self._finished: dict[tuple[str, str], int] = {}

    def look(self) -> None:
        """Count what was added since the last look."""
        with self._lock:
            self._sum()

    def collect(self) -> Iterator[Metric]:
        """The metrics, at most two seconds old; only `trainyard_database_up` while the database is away."""
        with self._lock:
            moment = time.monotonic()
            if moment - self._kept[0] >= FRESH_SECONDS:
                self._kept = (moment, self._read(moment))
            yield from self._kept[1]

    def _read(self, moment: float) -> list[Metric]:
        up = GaugeMetricFamily("trainyard_database_up", "Whether the database answers.", 1)
        try:
            if moment - self._summed >= SUMS_SECONDS:
                self._sum()
            return [up, *self._jobs(), self._workers(), *self._sums()]
        except DBAPIError:
            return [GaugeMetricFamily(up.name, up.documentation, 0)]

    def _jobs(self) -> list[Metric]:
        jobs = GaugeMetricFamily("trainyard_jobs", "Jobs on record.", labels=["status"])
        queued = GaugeMetricFamily("trainyard_queue_jobs", "Queued jobs by the device they ask for.", labels=["device"])
        oldest = GaugeMetricFamily(
            "trainyard_queue_oldest_seconds", "Since the oldest queued job was submitted.", labels=["device"]
        )
        pace = GaugeMetricFamily(
            "trainyard_running_epoch_seconds", "The last epochs of the running jobs, on average.", labels=["dataset"]
        )
        with self._database.read() as session:
            counts = {row[0]: row[1] for row in session.execute(select(Job.status, func.count()).group_by(Job.status))}
            by_device = select(Job.device, func.count(), func.min(Job.created_at)).where(Job.status == Status.QUEUED)
            waiting = {row[0]: (row[1], row[2]) for row in session.execute(by_device.group_by(Job.device))}
            running = select(Job.dataset, func.avg(Job.seconds_per_epoch)).where(
                Job.status == Status.RUNNING, Job.seconds_per_epoch.is_not(None)
            )
            paces = session.execute(running.group_by(Job.dataset)).all()
        for status in Status:
            jobs.add_metric([status], counts.get(status, 0))
        for device in QUEUES:
            count, since = waiting.get(device, (0, None))
            queued.add_metric([device], count)
            # The clocks of two machines may differ.
            oldest.add_metric([device], max(0.0, (now() - since).total_seconds()) if since else 0)
        for dataset, seconds in paces:
            pace.add_metric([dataset], seconds)
        return [jobs, queued, oldest, pace]

    def _workers(self) -> Metric:
        workers = GaugeMetricFamily("trainyard_workers", "Workers that are alive.", labels=["status"])
        with self._database.read() as session:
            found = [worker.status for worker in all_workers(session) if worker.id in self._reaper.alive]
        for status in WorkerStatus:
            workers.add_metric([status], found.count(status))
        return workers

    def _sum(self) -> None:
        columns = Job.status, func.coalesce(Job.failure_kind, ""), func.count(), func.sum(Job.epoch)
        with self._database.read() as session:
            rows = session.execute(select(*columns).group_by(Job.status, Job.failure_kind)).all()
        found = {(status, kind): (int(count), int(epochs)) for status, kind, count, epochs in rows}
        if self._seen is not None:
            all_before, all_now = (sum(epochs for _, epochs in each.values()) for each in (self._seen, found))
            self._epochs += max(0, all_now - all_before)
            for key, (count, _) in found.items():
                grown = max(0, count - self._seen.get(key, (0, 0))[0])
                self._finished[key] = self._finished.get(key, 0) + grown
        self._seen, self._summed = found, time.monotonic()

    def _sums(self) -> list[Metric]:
        epochs = CounterMetricFamily(
            "trainyard_epochs", "Epochs trained since this process looked first.", self._epochs
        )
        finished = CounterMetricFamily(
            "trainyard_jobs_finished", "Jobs that ended since this process looked first.", labels=["status", "failure"]
        )
        for status in (Status.SUCCEEDED, Status.CANCELLED):
            finished.add_metric([status, ""], self._finished.get((status, ""), 0))
        failures = {kind for status, kind in self._seen or {} if status == Status.FAILED}
        for kind in sorted(failures):
            finished.add_metric([Status.FAILED, kind], self._finished.get((Status.FAILED, kind), 0))
        return [epochs, finished]


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": TEXT, "application/openmetrics-text": TEXT}}},
)
def metrics(request: Request) -> Response:
    """Figures for Prometheus: jobs, queue, workers and epochs of the whole service; requests of this process."""
    figures: Figures = request.app.state.figures
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(figures.registry), media_type=media_type)
