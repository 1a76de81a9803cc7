"""The OpenAPI document: what it promises, and that it does not drift."""

import json
from pathlib import Path
from typing import Any

import pytest

from palaver.gateway.app import bare_app
from palaver.gateway.frozen_openapi import frozen_document
from palaver.gateway.generations.served import served_generations
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.users import ApiClient

REPOSITORY = Path(__file__).parents[3]
SETTINGS = GatewaySettings()
DOCUMENT = bare_app(SETTINGS, served_generations(SETTINGS)).openapi()
OPERATIONS = [
    pytest.param(operation, id=f"{method.upper()} {path}")
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def test_v2_has_not_drifted() -> None:
    """A change of the public API would go out unseen. Seen and meant: `make docs`."""
    kept = (REPOSITORY / "docs/reference/openapi-v2.json").read_text(encoding="utf-8")
    assert kept == frozen_document("v2")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_explains_itself(operation: dict[str, Any]) -> None:
    """Whoever writes a client would have to guess what an operation does, takes and refuses."""
    assert operation["summary"]
    assert operation["description"]
    assert operation["tags"]
    generation = operation["tags"][0]
    good = [status for status in operation["responses"] if status.startswith("2")]
    assert good
    if generation == "operations":
        return
    assert "503" in operation["responses"]
    assert ("401" in operation["responses"]) >= bool(operation.get("security"))
    if "requestBody" in operation:
        assert {"400", "413"} <= operation["responses"].keys()
    for status, answer in operation["responses"].items():
        for media, content in answer.get("content", {}).items():
            if not status.startswith("2"):
                assert media == ("application/problem+json" if generation == "v2" else "application/json")
            assert has_example(content), (status, content)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_body_has_an_example(operation: dict[str, Any]) -> None:
    """Nobody could try an operation from the page."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert has_example(content), content


def has_example(content: dict[str, Any]) -> bool:
    """Whether the content, or its schema, is shown by an example."""
    if "example" in content or "examples" in content:
        return True
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return "example" in DOCUMENT["components"]["schemas"].get(name, content["schema"])


def test_no_schema_is_left_over_and_none_is_missing() -> None:
    """Generators of clients stop at a reference that leads nowhere."""
    text = json.dumps(DOCUMENT)
    for name in DOCUMENT["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
    assert text.count('"$ref"') == sum(
        text.count(f'"#/components/{kind}/{name}"')
        for kind in ("schemas", "headers")
        for name in DOCUMENT["components"][kind]
    )
    assert "palaver__" not in text
    assert "HTTPValidationError" not in text


@pytest.mark.asyncio(loop_scope="module")
async def test_the_pages_are_served(api: ApiClient) -> None:
    """The links that `palaver up` prints, and those of the first generations, would lead nowhere."""
    document = await api.call("GET", "/openapi.json")
    assert document.ok()["info"]["title"] == "Palaver"
    page = await api.call("GET", "/docs")
    assert page.status == 200
    assert b'src="docs/start.js"' in page.body
    assert b"openapi.json" in (await api.call("GET", "/docs/start.js")).body
    assert (await api.call("GET", "/swagger/index.html")).body == page.body
