"""Task and queue names, and how Celery reaches the broker: the only things API and worker share about Celery."""

from pathlib import Path
from typing import Any, Literal

from models.settings import Settings

TRAIN_TASK = "trainyard.train"
Device = Literal["auto", "cpu", "gpu"]
QUEUES: dict[Device, str] = {"auto": "train", "cpu": "train.cpu", "gpu": "train.gpu"}

# Celery on Redis serves priority 0 first; a spec says it the other way round, 9 first.
LOWEST_CELERY_PRIORITY = 9


def celery_priority(priority: int) -> int:
    """The Celery priority (Redis: 0 first) of a spec's `priority` (9 first)."""
    return LOWEST_CELERY_PRIORITY - priority


def filesystem_broker(folder: Path) -> str:
    """The broker URL that stands for Celery's filesystem transport in `folder`, which is made if need be."""
    for name in ("messages", "control", "processed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return f"filesystem://{folder}"


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Celery's configuration of broker and queues, the same for the API that sends and the worker that takes.

    Raises:
        ValueError: no broker is set; `trainyard up` brings one, or TRAINYARD_BROKER_URL names one.
    """
    url = settings.broker_url
    if not url:
        raise ValueError("There is no broker: start everything with `trainyard up`, or set TRAINYARD_BROKER_URL.")
    common: dict[str, Any] = {
        "broker_connection_retry_on_startup": True,
        "task_default_queue": QUEUES["auto"],
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
    }
    if url.startswith("filesystem://"):
        folder = Path(url.removeprefix("filesystem://"))
        messages = str(folder / "messages")
        return common | {
            "broker_url": "filesystem://",
            "broker_transport_options": {
                "data_folder_in": messages,
                "data_folder_out": messages,
                "control_folder": str(folder / "control"),
                "processed_folder": str(folder / "processed"),
                "store_processed": False,
                "polling_interval": 0.1,
            },
        }
    return common | {
        "broker_url": url,
        "broker_transport_options": {
            "queue_order_strategy": "priority",
            "priority_steps": list(range(LOWEST_CELERY_PRIORITY + 1)),
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
        },
    }
