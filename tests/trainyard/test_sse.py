"""Reading server-sent events, whatever the pieces that the network cuts them into."""

import json

from hypothesis import given
from hypothesis import strategies as st

from trainyard.sse import ServerSentEvent, read_events

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))


@given(st.data(), st.lists(st.tuples(st.integers(0, 99), texts), max_size=6), st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_survive_any_cut_and_any_line_ending(data: st.DataObject, sent: list[tuple[int, str]], end: str) -> None:
    stream = f": comment{end}{end}"
    for number, text in sent:
        stream += f"id: {number}{end}event: epoch{end}data: {json.dumps(text, ensure_ascii=False)}{end}{end}"
    # A CR that ends the stream may be half of a CRLF, so an event of such a stream ends with what follows it.
    raw = (stream + ": end").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert [(int(event.id), json.loads(event.data)) for event in read_events(pieces)] == sent


def test_the_rules_of_the_standard() -> None:
    stream = b"retry: 500\nid: 1\ndata: a\ndata:  b\n\nevent: x\n\ndata\n\nid: 2\ndata: cut"
    assert list(read_events([stream])) == [
        ServerSentEvent("1", "message", "a\n b", 500),
        ServerSentEvent("1", "message", "", 500),
    ]
