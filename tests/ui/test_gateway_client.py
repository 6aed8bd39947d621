"""The question box speaks to the gateway as an application does: HTTP against a stand-in."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from core.errors import BOuteError, NotReady
from ui.gateway_client import ask

ANSWER = {"choices": [{"message": {"content": "Answer: 7."}}]}
REFUSAL = {"error": {"message": "No replica is ready.", "type": "unavailable"}}


class StandIn(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]] = []  # noqa: RUF012 (shared with the test on purpose)
    refuse = False

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        content = json.dumps(REFUSAL if self.refuse else ANSWER).encode()
        self.send_response(503 if self.refuse else 200)
        self.send_header("X-BOute-Model", "small")
        self.send_header("Content-Length", str(len(content)))
        if self.refuse:
            self.send_header("Retry-After", "5")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def gateway() -> Iterator[str]:
    StandIn.asked.clear()
    StandIn.refuse = False
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_an_answer_comes_with_the_decision(gateway: str) -> None:
    answer = ask(gateway, "What is 3 + 4?")
    assert answer.text == "Answer: 7."
    assert answer.decision == {"model": "small"}
    assert answer.e2e_ms > 0
    assert StandIn.asked[0]["model"] == "auto"


def test_a_refusal_is_told_in_the_gateways_words(gateway: str) -> None:
    StandIn.refuse = True
    with pytest.raises(BOuteError, match="503: No replica is ready") as refused:
        ask(gateway, "What is 3 + 4?")
    assert refused.value.hint == "Try again in 5 s."


def test_silence_is_named() -> None:
    with pytest.raises(NotReady, match="does not answer"):
        ask("http://127.0.0.1:1", "anyone?")
