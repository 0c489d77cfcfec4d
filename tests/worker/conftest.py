"""What attempts are tried with."""

import multiprocessing
from collections.abc import Iterator

import pytest

from models import workers
from models.settings import Settings
from worker.slot import Slot


@pytest.fixture
def slot(settings: Settings) -> Iterator[Slot]:
    """A slot whose worker is announced, in this process."""
    made = Slot(settings, ["train"], multiprocessing.get_context("spawn").Event())
    with made.database.write() as session:
        workers.announce(session, made._row())
    yield made
    made.close()
