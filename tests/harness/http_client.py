"""An HTTP client of servers under test. Bodies are kept as bytes, because old clients parse bytes."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass
class HttpResponse:
    """A response. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def refusal(self) -> tuple[int, str, str | None]:
        """Status, code and field of an error of the private REST."""
        return self.status, self.json["code"], self.json.get("field")

    def ok(self, status: int = 200) -> Any:
        """The body, decoded, None where it is empty. Raises `AssertionError` at another status."""
        assert self.status == status, (self.status, self.body)
        return self.json if self.body else None


class HttpClient:
    """Requests to one server, without the library's own type of a body."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        follow_redirects: bool = False,
    ) -> HttpResponse:
        """One request. A body of bytes goes as it is, any other as JSON; both as `application/json` where
        `headers` name no type. `params`: the query."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if body is not None:
            sent.setdefault("content-type", "application/json")
        data = body if isinstance(body, bytes | None) else json.dumps(body, ensure_ascii=False).encode()
        # aiohttp takes large bodies only as files
        content = None if data is None else io.BytesIO(data)
        async with self.http.request(
            method,
            self.url + path,
            params=params,
            data=content,
            headers=sent,
            allow_redirects=follow_redirects,
            skip_auto_headers=["content-type"],
        ) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return HttpResponse(response.status, found, await response.read())
