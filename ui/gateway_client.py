"""Asks the gateway one question, the way an application would. Standard library only."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from core.errors import BOuteError, NotReady

TIMEOUT_S = 60.0
DECISION = "x-boute-"
"""Prefix of the response headers that name the gateway's decision."""


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What came back.

    Attributes:
        decision: The gateway's decision headers, without their prefix.
        e2e_ms: From sending the question to the last byte.
    """

    question: str
    text: str
    decision: dict[str, str]
    e2e_ms: float


def ask(base_url: str, question: str, max_tokens: int = 128, key: str = "") -> GatewayAnswer:
    """Send one chat question with `model: "auto"`.

    Args:
        key: API key; empty where the gateway asks for none.

    Raises:
        BOuteError: The gateway refused it, with the gateway's own words.
        NotReady: The gateway does not answer at all.
    """
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    bearer = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(
        f"{base_url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **bearer},
    )
    started_s = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            content, headers = json.load(response), dict(response.headers.items())
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.code, error.read(), error.headers.get("Retry-After")) from error
    except (OSError, ValueError) as error:
        raise NotReady(
            f"The gateway at {base_url} does not answer.",
            "Is it running? `boute up` starts it with the dashboard.",
        ) from error
    e2e_ms = (time.perf_counter() - started_s) * 1000
    decision = {
        name.lower().removeprefix(DECISION): value
        for name, value in headers.items()
        if name.lower().startswith(DECISION)
    }
    return GatewayAnswer(question, _text(content), decision, e2e_ms)


def _text(content: Any) -> str:
    try:
        return str(content["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        return json.dumps(content)


def _refusal(status: int, body: bytes, retry_after: str | None) -> BOuteError:
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")[:300]
    wait = f"Try again in {retry_after} s." if retry_after else ""
    return BOuteError(f"The gateway answered {status}: {message}", wait)
