"""API keys from their making to their end, on both fronts and the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import urllib3
from typer.testing import CliRunner

import lakeservice
from lakeservice.cli import app
from lakeservice.config import Secret, Serve
from lakeservice.server import Server
from lakeservice.service import Service
from schemas.errors import AccessError, LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "akeyofthetests"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    serve = Serve(port=0, flight_port=0, api_key=Secret(KEY))
    with Service.open(str(folder), create=True) as service, Server(service, serve) as server:
        yield server


def ask(
    server: Server, method: str, route: str, key: str = KEY, body: Any = None, **fields: str
) -> tuple[int, Any]:
    answer = urllib3.request(
        method,
        f"{server.url}/api/v1/{route}",
        headers={"authorization": f"Apikey {key}"},
        body=None if body is None else json.dumps(body).encode(),
        fields=fields or None,
    )
    return answer.status, json.loads(answer.data)


def made(server: Server, key: str = KEY, **body: Any) -> dict[str, Any]:
    status, answer = ask(server, "POST", "auth/apikey", key, body)
    assert status == 200, answer
    document: dict[str, Any] = answer
    return document


def test_a_key_does_what_it_may_on_both_fronts_and_no_more(server: Server) -> None:
    lakeservice.connect(server.url, KEY).write_array("a", np.arange(3))
    secret = made(server, scopes=["read:metadata", "read:data"])["secret"]
    reader = lakeservice.connect(server.url, secret)
    assert reader["a"][:].tolist() == [0, 1, 2]
    with pytest.raises(AccessError, match="needs the scope"):
        reader.write_array("b", np.arange(3))
    assert ask(server, "GET", "metadata/a", secret)[0] == 200
    assert ask(server, "DELETE", "metadata/a?external_only=false", secret)[0] == 403
    assert ask(server, "POST", "auth/apikey", secret, {})[0] == 403


def test_a_revoked_key_opens_neither_front(server: Server) -> None:
    key = made(server)
    assert ask(server, "DELETE", f"auth/apikey?first_eight={key['first_eight']}")[0] == 200
    assert ask(server, "GET", "metadata/", key["secret"])[0] == 401
    with pytest.raises(LakeError):
        list(lakeservice.connect(server.url, key["secret"]))


def test_a_key_made_by_a_key_neither_outlives_it_nor_may_more(server: Server) -> None:
    maker = made(server, scopes=["read:metadata", "create:apikeys"], expires_in=100)
    child = made(server, maker["secret"], scopes=["inherit"], expires_in=10_000)
    assert child["scopes"] == maker["scopes"]
    assert child["expiration_time"] <= maker["expiration_time"]
    asked = {"scopes": ["write:data"]}
    assert ask(server, "POST", "auth/apikey", maker["secret"], asked)[0] == 403


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"scopes": ["fly"]}, "no scope 'fly'"),
        ({"scopes": []}, "at least one scope"),
        ({"expires_in": -1}, "seconds above 0"),
        ({"expires_in": "soon"}, "expected"),
        ({"access_tags": ["x"]}, "leave them out"),
        ([], "expected"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(server: Server, body: Any, words: str) -> None:
    status, answer = ask(server, "POST", "auth/apikey", body=body)
    assert status // 100 == 4
    assert words in answer["detail"].lower()


def test_a_key_tells_of_itself_and_the_server_of_all(server: Server) -> None:
    key = made(server, scopes=["read:metadata"], note="mine")
    made(server, scopes=["read:data"], note="another")
    assert ask(server, "GET", "auth/apikey", key["secret"])[1]["note"] == "mine"
    assert ask(server, "GET", "auth/apikey")[0] == 400
    notes = [one["note"] for one in ask(server, "GET", "auth/whoami")[1]["api_keys"]]
    assert notes == ["mine", "another"]
    own = ask(server, "GET", "auth/whoami", key["secret"])[1]["api_keys"]
    assert [one["note"] for one in own] == ["mine"]
    assert key["secret"] not in json.dumps(own)


def test_the_command_line_makes_lists_and_revokes_keys_that_a_running_server_knows(
    server: Server, folder: Path
) -> None:
    runner = CliRunner()
    options = ["--scope", "read:metadata", "--expires-in", "12h", "--note", "for Igor"]
    secret = runner.invoke(app, ["key", "create", str(folder), *options]).output.strip()
    assert ask(server, "GET", "metadata/", secret)[0] == 200
    listed = runner.invoke(app, ["key", "list", str(folder)]).output
    assert "for Igor" in listed
    assert secret not in listed
    assert runner.invoke(app, ["key", "revoke", str(folder), secret[:8]]).exit_code == 0
    assert secret[:8] not in runner.invoke(app, ["key", "list", str(folder)]).output
    wrong = runner.invoke(app, ["key", "create", str(folder), "--expires-in", "soon"])
    assert isinstance(wrong.exception, LakeError)
    assert "write 30s" in str(wrong.exception)
