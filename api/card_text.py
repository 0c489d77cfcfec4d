"""Writes a model card in Markdown: what Mitchell et al. (2019, arXiv:1810.03993) ask of one, as far as it is known.

The front matter is what the model cards of Hugging Face have. A licence of the model is not among it: none was given.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from api.card_figures import figures, limits, number
from api.card_making import data, network, training
from api.card_subject import PICTURES, Links, Subject
from api.markdown import code, escaped, fenced, front_matter, table
from models.spec.data import ImageDataset, is_regression

DEFAULT_URL = "http://127.0.0.1:8000"
USES = {
    "mnist": "reading one handwritten digit from a picture",
    "digits": "reading one handwritten digit from a picture",
    "fashion_mnist": "saying what kind of garment, shoe or bag a picture of a single one shows",
    "spiral": "saying on which of several intertwined arms a point of the plane lies",
    "polynomial": "estimating the value of a curve at a place between 0 and 10",
}


def card(subject: Subject, links: Links) -> str:
    """The card; the same text for the same subject and links."""
    parts = [front_matter(_front(subject)), f"# {code(subject.ref)}", *_what(subject, links)]
    sections = {
        "What it is for": _purpose(subject),
        "How to ask it": _asking(subject, links),
        "Data": data(subject),
        "Network": network(subject, links),
        "Training": training(subject),
        "Figures": figures(subject.measured, subject.evaluation),
        "Limits": ["\n".join(f"- {sentence}" for sentence in limits(subject.spec, subject.evaluation))],
        "Plots": [f"![{PICTURES[name]}]({links.picture(subject.job.id, name)})" for name in subject.pictures],
        "Files": _files(subject, links),
        "How to repeat it": _repeating(subject, links),
    }
    for title, blocks in sections.items():
        parts += [f"## {title}", *blocks]
    return "\n\n".join(parts) + "\n"


def _front(subject: Subject) -> dict[str, Any]:
    dataset = subject.spec.dataset
    kind = "image" if isinstance(dataset, ImageDataset) else "tabular"
    task = f"{kind}-{'regression' if is_regression(dataset) else 'classification'}"
    measured = subject.measured
    values: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": task,
        "tags": ["trainyard", *(tag for tag in subject.job.tags if tag != "trainyard")],
        "datasets": [dataset.name],
    }
    if measured:
        values["metrics"] = list(measured)
        result = {
            "task": {"type": task},
            "dataset": {"name": subject.facts.title, "type": dataset.name, "split": "test"},
            "metrics": [{"type": name, "value": value} for name, value in measured.items()],
        }
        values["model-index"] = [{"name": subject.ref, "results": [result]}]
    return values


def _what(subject: Subject, links: Links) -> Iterator[str]:
    version, job = subject.version, subject.job
    names = f", named {escaped(job.name)}" if job.name else ""
    rows = [
        ("model", f"{code(version.name)}, version {version.version}"),
        ("called", ", ".join(map(code, subject.called)) or "by its number only"),
        ("made", f"{_moment(version.created_at)} by the job {links.page(code(job.id), f'/v1/jobs/{job.id}')}{names}"),
        ("parameters", number(version.parameters)),
    ]
    if job.owner:
        rows.append(("owner", escaped(job.owner)))
    if job.tags:
        rows.append(("tags", ", ".join(map(escaped, job.tags))))
    yield table(("", ""), rows)
    if job.notes.strip():
        yield "Its owner notes:"
        yield fenced(job.notes.strip(), "text")


def _purpose(subject: Subject) -> Iterator[str]:
    spec, names = subject.spec, subject.version.serving["class_names"]
    known = f" It tells {len(names)} classes apart: {', '.join(map(escaped, names))}." if names else ""
    if isinstance(spec.dataset, ImageDataset):
        use = f"{USES[spec.dataset.name]}, of the kind that {subject.facts.title} has, and for learning and comparing"
    else:
        use = f"{USES[spec.dataset.name]}: a computed problem, for watching networks learn"
    yield (
        f"It is meant for {use}.{known} It is not meant for decisions in which a wrong answer does harm, unless a "
        "person looks at each."
    )
    if isinstance(spec.dataset, ImageDataset):
        takes = (
            "pictures (PNG, JPEG, WebP, BMP, GIF) of any size, which the service brings to 28x28, light on dark; or "
            "arrays of 28x28 numbers from 0 to 255, light on dark, taken as they are"
        )
    else:
        count = subject.version.serving["shape"][0]
        takes = "feature vectors of one number" if count == 1 else f"feature vectors of {count} numbers"
    answers = "label, name and probability of the class, and the probabilities of all" if names else "a value"
    yield table(("", ""), [("takes", takes), ("answers", answers)])


def _asking(subject: Subject, links: Links) -> Iterator[str]:
    address = f'"$URL/v1/models/{subject.ref}/predict'
    if isinstance(subject.spec.dataset, ImageDataset):
        lines = [
            f'curl {address}" -F file=@picture.png',
            f'curl {address}?seen=true" -F file=@picture.png  # with what the model was shown',
        ]
    else:
        example = json.dumps({"instances": [[0.5] * subject.version.serving["shape"][0]]})
        lines = [f"curl {address}\" -H 'Content-Type: application/json' -d '{example}'"]
    yield fenced("\n".join([_address(links), *lines]), "sh")
    yield 'A service with keys wants `-H "Authorization: Bearer $KEY"` besides.'


def _files(subject: Subject, links: Links) -> Iterator[str]:
    shown = [file for file in subject.files if not file.name.startswith("epoch-")]
    rows = [
        (links.page(code(f.name), f"/v1/jobs/{f.job_id}/artifacts/{f.name}"), code(f.sha256), number(f.size))
        for f in shown
    ]
    yield table(("file", "SHA-256", "bytes"), rows, numbers=1)
    if epochs := len(subject.files) - len(shown):
        yield f"Besides, the weights after {epochs} of its epochs are kept, each in a file `epoch-N.npz`."
    libraries = subject.version.libraries
    if libraries is None:
        yield "With which libraries it was made was not recorded."
    else:
        made_with = ", ".join(escaped(f"{name} {libraries[name]}") for name in sorted(libraries))
        yield f"Made with {made_with}."


def _repeating(subject: Subject, links: Links) -> Iterator[str]:
    yield (
        "The whole spec. Saved as `spec.json` and sent again it makes the next version; with other libraries or on "
        "another machine the figures may differ a little."
    )
    if subject.changes:
        yield (
            "It was changed while it trained, which the spec does not say: "
            f"`POST /v1/jobs/{subject.job.id}/verify` trains it again with the changes at their steps."
        )
    yield fenced(json.dumps(subject.job.spec, indent=2), "json")
    send = "curl \"$URL/v1/jobs\" -H 'Content-Type: application/json' --data-binary @spec.json"
    yield fenced(f"{_address(links)}\n{send}", "sh")


def _address(links: Links) -> str:
    return f"URL={DEFAULT_URL}  # the service that has the model" if links.service is None else f"URL={links.service}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
