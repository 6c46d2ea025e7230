"""FiftyOne's App behind a lock: `python -m dashboards.fiftyone.locked_app --port 5151 FOLDER`.

FiftyOne wants no password, answers pages of every origin, and its media route sends whatever file of this machine it is
asked for. Here everything needs the token of the address that was printed, only the App's own page may ask, and media
come from `FOLDER` alone.
"""

import argparse
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

TOKEN = "PERSONA_APP_TOKEN"
"""Environment variable with the token; made anew where it is not set."""
NAMES = ("127.0.0.1", "localhost")
"""What the App is called: a page that leads another name here (DNS rebinding) would be taken for the App's own."""

_REFUSED = b"Open the address that `persona browse` printed: it carries the token.\n"


def app_token() -> str:
    """The token of this process and of those that it starts."""
    return os.environ.setdefault(TOKEN, secrets.token_hex(24))


class Locked:
    """An ASGI application that lets through what carries the token and comes from the application's own page.

    Args:
        app: the application.
        token: in the query once, in a cookie ever after.
        folder: where media may lie; links are followed first.
    """

    def __init__(self, app: Any, token: str, folder: Path) -> None:  # noqa: ANN401 - ASGI has no type
        self.app, self.token, self.folder = app, token, folder.resolve()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
        """Answer one request, or let the application answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if not _is_own(scope, headers):
            await _answer(scope, send, 403)
        elif "token" in query and _equal(query.pop("token"), self.token):
            cookie = f"{_cookie(headers)}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            there = scope["path"] + (f"?{urlencode(query)}" if query else "")
            await _answer(scope, send, 303, {"location": there, "set-cookie": cookie})
        elif not _equal(_cookies(headers).get(_cookie(headers), ""), self.token):
            await _answer(scope, send, 403)
        elif "filepath" in query and not Path(query["filepath"]).resolve().is_relative_to(self.folder):
            await _answer(scope, send, 404)
        else:
            await self.app(scope, receive, send)


def _is_own(scope: dict[str, Any], headers: Mapping[str, str]) -> bool:
    """The browser says where a request comes from, and a page cannot make it lie."""
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in NAMES and host not in NAMES:
        return False
    if headers.get("origin", f"http://{host}") != f"http://{host}":
        return False
    came_by_link = scope.get("method") == "GET" and headers.get("sec-fetch-mode") == "navigate"
    return came_by_link or headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _cookie(headers: Mapping[str, str]) -> str:
    """Cookies do not know ports: every App of a machine has one of its own."""
    return f"persona-app-{headers.get('host', '').rpartition(':')[2]}"


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in pairs}


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


async def _answer(scope: dict[str, Any], send: Any, status: int, headers: Mapping[str, str] | None = None) -> None:  # noqa: ANN401
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    told = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    told.append((b"content-type", b"text/plain"))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": b"" if status == 303 else _REFUSED})


def main() -> None:
    """Serve the App until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="media come from below it alone")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--address", default="127.0.0.1")
    options = parser.parse_args()
    os.environ["FIFTYONE_SERVER"] = "1"  # as FiftyOne's own server sets it before its modules are imported
    import asyncio

    from fiftyone.server.app import app
    from fiftyone.server.events import set_port
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{options.address}:{options.port}"]
    set_port(options.port)
    locked: Any = Locked(app, app_token(), options.folder)
    asyncio.run(serve(locked, config))


if __name__ == "__main__":
    main()
