"""What attempts are tried with."""

import multiprocessing
from collections.abc import Iterator

import pytest

from models import workers
from models.new_store import prepare_store
from models.settings import Settings
from worker import export
from worker.slot import Slot


@pytest.fixture
def slot(settings: Settings) -> Iterator[Slot]:
    """A slot whose worker is announced, in this process."""
    made = Slot(settings, ["train"], multiprocessing.get_context("spawn").Event())
    with made.database.write() as session:
        workers.announce(session, made._row())
        prepare_store(session, made.store)
    yield made
    made.close()


@pytest.fixture
def no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """For whole attempts in tests of something else: the ONNX file is a third of what a small job costs."""
    monkeypatch.setattr(export, "export_onnx", lambda *_: b"")
    monkeypatch.setattr(export, "verify_onnx", lambda *_: 0.0)
