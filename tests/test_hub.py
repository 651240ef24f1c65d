"""The hub is asked once, whatever it answers, and nobody hears its client. Stand-ins of it listen on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from suite.errors import SuiteError
from suite.hub import NotFetched, fetch
from suite.models.model import resolve_model
from suite.tasks import get_task

QUIZ = '{"id": 1, "question": "Why?", "choices": ["x", "y"], "answer_index": 0}'


@contextmanager
def hub(status: int, headers: dict[str, str] | None = None, *, known: bytes = b"") -> Iterator[tuple[str, list[str]]]:
    """A hub that answers everything with one status: its address, and what it was asked.

    Args:
        known: what it says of a repository; "" for nothing but the status.
    """
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            content = known if self.path.startswith("/api/datasets") else b""
            self.send_response(200 if content else status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def said(tmp_path: Path, endpoint: str, *command: str) -> str:
    """What a command that needs the hub says, in one line."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SUITE_DATA"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf")}
    code = "import sys, time; time.sleep = lambda _: None; from suite.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def quiz(tmp_path: Path) -> str:
    (tmp_path / "quiz.jsonl").write_text(QUIZ)
    return str(tmp_path / "quiz.jsonl")


def test_a_model_from_a_hub_out_of_reach(tmp_path: Path, quiz: str) -> None:
    endpoint = closed_port()
    line = said(tmp_path, endpoint, "show", quiz, "--model", "org/name")
    assert line.startswith(f"suite: model org/name: cannot fetch it from the hub (no answer from {endpoint}: ")
    assert line.endswith("; check name and network, or name a directory")


def test_a_data_set_from_a_hub_out_of_reach(tmp_path: Path) -> None:
    endpoint = closed_port()
    line = said(tmp_path, endpoint, "show", "ye2024-rc")
    assert f"the hub did not give it (no answer from {endpoint}: " in line
    assert "fetch cosmosqa_10k.json" in line


@pytest.fixture
def hub_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes the client of this process ask an address."""
    from huggingface_hub import constants

    from suite import hub

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(hub, "_out_of_reach", {})
    monkeypatch.delenv("SUITE_DATA", raising=False)
    return lambda endpoint: monkeypatch.setattr(constants, "ENDPOINT", endpoint)


@pytest.mark.parametrize("revision", ["", "@main", "@" + "0123456789" * 4])
def test_a_hub_that_is_down_is_asked_once(
    hub_at: Callable[[str], None], capfd: pytest.CaptureFixture[str], revision: str
) -> None:
    with hub(503) as (endpoint, asked):
        hub_at(endpoint)
        with pytest.raises(SuiteError, match=rf"cannot fetch it from the hub \({endpoint} answers 503\)"):
            resolve_model(f"org/name{revision}")
    assert len([path for path in asked if "org/name" in path]) == 1
    assert capfd.readouterr() == ("", "")


def test_a_data_set_on_a_hub_that_is_down_is_asked_for_once(
    hub_at: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    with hub(503) as (endpoint, asked):
        hub_at(endpoint)
        with pytest.raises(SuiteError, match=rf"the hub did not give it \({endpoint} answers 503\)"):
            get_task("ye2024-ds")
    assert len([path for path in asked if "LLM-Uncertainty-Bench" in path]) == 1
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_breaks_off_is_not_heard(tmp_path: Path) -> None:
    """It knows the data set and does not give the file: the client tries again and again, and says so each time."""
    known = {"id": "ErikYip/LLM-Uncertainty-Bench", "sha": "0123456789" * 4}
    with hub(503, known=json.dumps(known).encode()) as (endpoint, asked):
        assert "the hub did not give it" in said(tmp_path, endpoint, "show", "ye2024-ds")
    assert len([line for line in asked if line.startswith("HEAD")]) > 1


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "RepoNotFound", "no such repository, or no access to it"),
        (403, "GatedRepo", "it is gated: ask for access there"),
        (404, "RevisionNotFound", "it has no revision 'v9'"),
    ],
)
def test_what_a_hub_says_no_to(hub_at: Callable[[str], None], status: int, code: str, reason: str) -> None:
    with hub(status, {"X-Error-Code": code}) as (endpoint, asked):
        hub_at(endpoint)
        with pytest.raises(SuiteError, match=rf"model org/name@v9: cannot fetch it from the hub \({reason}"):
            resolve_model("org/name@v9")
    assert len([path for path in asked if "org/name" in path]) == 1


def test_a_hub_that_never_answers_is_left_after_a_while(
    hub_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not waited for again, whatever is asked for next."""
    from suite import hub as client

    monkeypatch.setattr(client, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        hub_at(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        begun = time.monotonic()
        for name in ("org/name", "org/other"):
            with pytest.raises(SuiteError, match="no answer from"):
                resolve_model(name)
        assert time.monotonic() - begun < 5


def test_offline_nothing_is_asked(hub_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub(200) as (endpoint, asked):
        hub_at(endpoint)
        for ask in (lambda: resolve_model("org/name"), lambda: get_task("ye2024-ds")):
            with pytest.raises(SuiteError, match=r"\(offline mode is on: HF_HUB_OFFLINE\)"):
                ask()
    assert asked == []


def test_a_copy_that_is_here_will_do(tmp_path: Path) -> None:
    """The tests run offline: only the copy counts."""
    asked: list[bool] = []

    def download(local: bool) -> str:
        asked.append(local)
        return str(tmp_path)

    assert fetch(download, "org/name") == tmp_path
    assert asked == [True]


def test_what_goes_wrong_while_fetching_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", lambda *_, **__: None)

    def download(local: bool) -> str:
        raise OSError(f"No space left on device (local: {local})\nsecond line")

    with pytest.raises(NotFetched, match=r"^No space left on device \(local: False\)$"):
        fetch(download, "org/name")
