"""The documents of the v2 socket say what gateway and client do."""

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml

from palaver import __version__
from palaver.contracts import frames
from palaver.contracts.errors import CATALOGUE

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
DOCUMENT = yaml.safe_load((REFERENCE / "asyncapi.yaml").read_text())
PAGE = (REFERENCE / "sockets.md").read_text()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
CLIENT_FRAMES = get_args(frames.ClientFrame)
SERVER_FRAMES = get_args(frames.ServerFrame)
FRAMES = {frame.__name__: frame for frame in (*CLIENT_FRAMES, *SERVER_FRAMES)}
# What the document may say on top of what msgspec knows: values, and words
FINER = {"description", "format", "minimum", "minLength", "maxProperties", "propertyNames"}


def plain(schema: Any) -> Any:
    """A schema in one spelling, without what the document says on top."""
    if not isinstance(schema, dict):
        return schema
    found = {key: plain(value) for key, value in schema.items() if key not in FINER}
    if "const" in found:
        found = {"enum": [found["const"]]}
    if "anyOf" in found:
        found["type"] = [option["type"] for option in found.pop("anyOf")]
    return found


def test_every_frame_is_there_and_no_other() -> None:
    """Who builds a client from the document would miss a frame, or wait for one that never comes."""
    assert set(SCHEMAS) == set(FRAMES)
    assert set(DOCUMENT["components"]["messages"]) == set(FRAMES)
    assert set(DOCUMENT["channels"]["socket"]["messages"]) == set(FRAMES)


@pytest.mark.parametrize("name", sorted(FRAMES))
def test_every_field_is_as_it_is_on_the_wire(name: str) -> None:
    """Who builds a client from the document would parse a field that is not there, or of another type."""
    [schema] = msgspec.json.schema_components([FRAMES[name]])[1].values()
    documented = SCHEMAS[name]
    assert plain(documented["properties"]) == plain(schema["properties"])
    assert documented["required"] == schema["required"]
    assert documented.get("additionalProperties") == schema.get("additionalProperties")
    message = DOCUMENT["components"]["messages"][name]
    assert message == {
        "name": schema["properties"]["type"]["enum"][0],
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def test_every_frame_has_a_direction() -> None:
    """Generated code would send what only the server says."""
    operations = DOCUMENT["operations"].values()
    received = {name_of(ref) for op in operations if op["action"] == "receive" for ref in op["messages"]}
    told = [op["messages"] for op in operations if op["action"] == "send"]
    answers = [op["reply"]["messages"] for op in operations if "reply" in op]
    sent = {name_of(ref) for refs in (*told, *answers) for ref in refs}
    assert received == {frame.__name__ for frame in CLIENT_FRAMES}
    assert sent == {frame.__name__ for frame in SERVER_FRAMES}


def test_every_reference_leads_somewhere() -> None:
    """Tools would refuse the document."""
    references = [value for key, value in walk(DOCUMENT) if key == "$ref"]
    assert len(references) > len(FRAMES)
    for reference in references:
        found = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_the_document_is_of_this_version() -> None:
    """A client's author would think to read the document of another release."""
    assert DOCUMENT["info"]["version"] == __version__


def test_the_page_lists_every_frame_with_its_fields() -> None:
    """Who reads the page would know less than who reads the code."""
    sections = re.split("^## ", PAGE, flags=re.MULTILINE)
    for title, kinds in (("Frames of the client", CLIENT_FRAMES), ("Frames of the server", SERVER_FRAMES)):
        [section] = [text for text in sections if text.startswith(title)]
        rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", section, re.MULTILINE))
        expected = {}
        for kind in kinds:
            fields = msgspec.structs.fields(kind)
            listed = ", ".join(f"`{field.name}`" + ("" if field.required else "?") for field in fields)
            expected[kind.__struct_config__.tag] = listed
        assert rows == expected


def test_the_page_lists_every_close_code() -> None:
    """A client's author would not know whether to come back."""
    rows = re.findall(r"^\| (\d{4}) \| ([^|]*) \|", PAGE, re.MULTILINE)
    listed = {(int(code), name) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    # Heads, and bodies that do not come, are of requests alone
    of_requests = {"head_too_large", "request_timeout", "upgrade_required"}
    assert listed == {(kind.close, kind.code) for kind in CATALOGUE.values() if kind.code not in of_requests}


def test_every_frame_is_described_in_the_words_of_the_code() -> None:
    """The document would go its own way, sentence by sentence, until it is wrong."""
    for name, frame in FRAMES.items():
        first = re.split(r"[.;:,]", " ".join(inspect.getdoc(frame).split()))[0]
        described = " ".join(SCHEMAS[name]["description"].split())
        if name == "Message":
            # Says more than the code: what a resume tells
            first = "A message that"
        assert described.startswith(first), name


def name_of(reference: dict[str, str]) -> str:
    """The frame that a reference to a message of the channel means."""
    return reference["$ref"].rpartition("/")[2]


def walk(part: Any) -> Any:
    """All keys with their values, at any depth."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield key, value
            yield from walk(value)
    elif isinstance(part, list):
        for value in part:
            yield from walk(value)
