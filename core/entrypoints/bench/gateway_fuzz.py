"""Whatever bytes arrive, the gateway answers in kind, keeps running, and does not grow.

Cases are drawn at random: JSON that is nearly right, JSON that is not, HTTP that is nearly right,
bytes that are no HTTP at all, sent whole, in pieces, several at once, or cut off. The gateway
stands in front of back-ends that always answer, with keys switched on; so every 5xx would be its
own.
"""

import argparse
import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import uvloop

from core.entrypoints.bench.gateway_subjects import Backend, Subject, boute, free_ports, stub
from core.entrypoints.waiting import say
from core.errors import EngineFailed, InvalidInput
from core.settings import Settings

PACE = ("--tokens", "3", "--first-ms", "0", "--gap-ms", "0")
AT_ONCE = 8
PATIENCE_S = 0.25
"""How long an answer may take; a request that is not whole gets none."""
PARTS = 10
MOST_GROWTH_MIB = 8.0
"""Of resident memory over the second half of the cases."""
STATUS = re.compile(rb"HTTP/[\d.]+ (\d{3}) ")
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/usage", "/health", "/ready")
ODD_PATHS = (
    "/",
    "/metrics",
    "//",
    "/v1/../v1/models",
    "/%00",
    "/v1/chat/completions?x=1",
    "*",
    "x",
)
METHODS = ("POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "post")
TEXTS = ("", "2 + 2?", "\0", "\ud800", "é" * 40, "x" * 5000, '"}', "data: [DONE]\n\n", "\u202e")
NUMBERS = (0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308)
FIELDS = (
    *("model", "messages", "prompt", "stream", "stream_options", "max_tokens", "n", "tools"),
    *("max_completion_tokens", "logprobs", "temperature", "user", "response_format"),
)


@dataclass(frozen=True)
class Case:
    """Bytes to send.

    Attributes:
        pieces: Sent one after another.
        cut: Close without waiting for an answer.
    """

    pieces: tuple[bytes, ...]
    cut: bool = False


@dataclass
class Outcome:
    """What came back.

    Attributes:
        statuses: Number of answers by status; "none" where the connection ended or was silent.
        faults: Cases with a 5xx, or an answer that is no HTTP.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


class Cases:
    """Draws cases.

    Args:
        seed: The same seed draws the same cases.
        key: A key that works.
    """

    def __init__(self, seed: int, key: str) -> None:
        self._dice = random.Random(seed)
        self._key = key
        self._kinds: tuple[Callable[[], Case], ...] = (
            self._nearly_right,
            self._nearly_right,
            self._nearly_right,
            self._odd_http,
            self._odd_http,
            self._mutated,
            self._noise,
            self._pipelined,
        )

    def draw(self, number: int) -> Iterator[Case]:
        """Yield so many cases."""
        for _ in range(number):
            yield self._dice.choice(self._kinds)()

    def _nearly_right(self) -> Case:
        return self._sent(self._request(json.dumps(self._body()).encode()))

    def _odd_http(self) -> Case:
        dice = self._dice
        method, path = dice.choice(METHODS), dice.choice(PATHS + ODD_PATHS)
        body = dice.choice((b"", b"{}", json.dumps(self._body()).encode(), dice.randbytes(50)))
        return self._sent(self._request(body, method, path, odd=True))

    def _mutated(self) -> Case:
        """Bytes of a good request, some of them changed, left out or doubled."""
        content = bytearray(self._request(json.dumps(self._body()).encode()))
        for _ in range(self._dice.randint(1, 6)):
            at = self._dice.randrange(len(content))
            change = self._dice.randrange(3)
            if change == 0:
                content[at] = self._dice.randrange(256)
            elif change == 1:
                del content[at]
            else:
                content[at:at] = content[at : at + self._dice.randrange(1, 40)]
        return self._sent(bytes(content))

    def _noise(self) -> Case:
        return self._sent(self._dice.randbytes(self._dice.randrange(1, 400)))

    def _pipelined(self) -> Case:
        whole = b"".join(self._nearly_right().pieces[0] for _ in range(self._dice.randint(2, 5)))
        return self._sent(whole)

    def _sent(self, content: bytes) -> Case:
        """Send it whole, in pieces, or only a part."""
        how = self._dice.randrange(10)
        at = self._dice.randrange(len(content)) if content else 0
        if how == 0:
            return Case((content[:at],), cut=True)
        if how == 1:
            return Case((content[:at], content[at:]))
        return Case((content,), cut=how == 2)

    def _request(
        self, body: bytes, method: str = "POST", path: str = PATHS[0], *, odd: bool = False
    ) -> bytes:
        headers = {"Host": "gateway", "Content-Type": "application/json"}
        headers["Authorization"] = f"Bearer {self._key}"
        headers["Content-Length"] = str(len(body))
        if odd:
            self._spoil(headers)
        if path == PATHS[0] and not self._dice.randrange(3):
            path = PATHS[1]
        lines = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body

    def _spoil(self, headers: dict[str, str]) -> None:
        dice = self._dice
        odd = {
            "Content-Length": ("-1", "9" * 20, "x", "0", "5"),
            "Content-Type": ("text/plain", "application/json; charset=utf-16", "", "\xff"),
            "Authorization": ("", "Bearer", "Bearer x", "Basic eDp5", "Bearer " + "k" * 3000),
            "Transfer-Encoding": ("chunked", "gzip", "chunked, chunked"),
            "Content-Encoding": ("gzip", "identity", "br"),
            "Expect": ("100-continue", "x"),
            "Upgrade": ("websocket", "h2c"),
            "Connection": ("close", "upgrade", "keep-alive"),
            "X-Large": ("a" * 9000, "b" * 3000),
            "": ("x",),
        }
        for name in dice.sample(list(odd), dice.randint(1, 3)):
            headers[name] = dice.choice(odd[name])
        if not dice.randrange(20):
            headers |= {f"X-{number}": "x" for number in range(150)}

    def _body(self) -> Any:
        dice = self._dice
        if not dice.randrange(12):
            return self._value(3)
        messages = [{"role": "user", "content": dice.choice(TEXTS)}]
        model = dice.choice(("auto", "small", "large", "other"))
        body: dict[str, Any] = {"model": model, "messages": messages}
        body["prompt"] = dice.choice(TEXTS)
        body["stream"] = dice.choice((True, False))
        for name in dice.sample(FIELDS, dice.randrange(3)):
            body[name] = self._value(3)
        for name in dice.sample(list(body), dice.randrange(2)):
            del body[name]
        return body

    def _value(self, depth: int) -> Any:
        dice, kind = self._dice, self._dice.randrange(7 if depth else 4)
        if kind == 4:
            return [self._value(depth - 1) for _ in range(dice.randrange(4))]
        if kind == 5:
            return {dice.choice((*FIELDS, *TEXTS[:5])): self._value(depth - 1) for _ in range(2)}
        if kind == 6:
            return [[[[[]]]]] * dice.randrange(30)
        return (None, dice.choice((True, False)), dice.choice(NUMBERS), dice.choice(TEXTS))[kind]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Send the cases and say what came back.

    Raises:
        InvalidInput: There are no cases.
        EngineFailed: The gateway did not start.
    """
    if parsed.cases < 1:
        raise InvalidInput("There must be at least one case.")
    with TemporaryDirectory() as name:
        folder = Path(name)
        ports = free_ports(2)
        backends = [Backend(ports[0], "small"), Backend(ports[1], "large")]
        core = min(psutil.Process().cpu_affinity())
        with stub(ports, PACE, core, folder), boute(backends, core, folder) as subject:
            result: dict[str, Any] = uvloop.run(_fuzzed(subject, parsed.cases, parsed.seed))
    return result


async def _fuzzed(subject: Subject, number: int, seed: int) -> dict[str, Any]:
    process = _listening_on(subject.port)
    cases, outcome = Cases(seed, subject.key), Outcome()
    resident_mib = []
    for part in range(PARTS):
        share = number * (part + 1) // PARTS - number * part // PARTS
        await _send(subject, cases.draw(share), outcome)
        resident_mib.append(process.memory_info().rss / 2**20)
        say(f"{part + 1} of {PARTS} parts sent; the gateway holds {resident_mib[-1]:.0f} MiB")
    serves = await _serves(subject)
    grown_mib = resident_mib[-1] - resident_mib[PARTS // 2 - 1]
    return {
        "cases": number,
        "seed": seed,
        "statuses": dict(sorted(outcome.statuses.items())),
        "faults": outcome.faults[:20],
        "number_of_faults": len(outcome.faults),
        "serves_afterwards": serves,
        "resident_mib": resident_mib,
        "grown_mib": grown_mib,
        "bars": {
            "no 5xx of its own": not outcome.faults,
            "no crash": serves,
            "memory flat": grown_mib <= MOST_GROWTH_MIB,
        },
    }


async def _send(subject: Subject, cases: Iterator[Case], outcome: Outcome) -> None:
    async def sender() -> None:
        for case in cases:
            _judge(case, await _answer(subject.port, case), outcome)

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))


async def _answer(port: int, case: Case) -> bytes:
    """Send a case and return what comes until the other side ends or is silent."""
    received = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return b"refused"
    try:
        for piece in case.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        while not case.cut:
            async with asyncio.timeout(PATIENCE_S if not received else PATIENCE_S / 10):
                part = await reader.read(65536)
            if not part:
                break
            received += part
    except (TimeoutError, OSError):
        pass
    writer.transport.abort()
    return received


def _judge(case: Case, received: bytes, outcome: Outcome) -> None:
    found = STATUS.match(received)
    status = found[1].decode() if found else "none"
    outcome.statuses[status] += 1
    failed = any(each.startswith(b"5") for each in STATUS.findall(received))
    if failed or (received and not found):
        told = b" ".join(case.pieces)[:400]
        outcome.faults.append(f"{status}: {told!r} gave {received[:300]!r}")


async def _serves(subject: Subject) -> bool:
    body = json.dumps({"model": "auto", "prompt": "2 + 2?"})
    request = (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {subject.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    for _ in range(20):
        received = await _answer(subject.port, Case((request.encode(),)))
        if received.startswith(b"HTTP/1.1 200"):
            return True
        await asyncio.sleep(0.1)
    return False


def _listening_on(port: int) -> psutil.Process:
    for connection in psutil.net_connections("tcp4"):
        listens = connection.status == psutil.CONN_LISTEN and connection.pid
        if listens and tuple(connection.laddr)[1:] == (port,):
            return psutil.Process(connection.pid)
    raise EngineFailed("The gateway's process cannot be found.")


def told(result: dict[str, Any]) -> str:
    """Return the result for people."""
    lines = [f"{result['cases']} cases (seed {result['seed']}), answers: {result['statuses']}"]
    held = ", ".join(f"{mib:.0f}" for mib in result["resident_mib"])
    lines.append(f"resident memory after each tenth: {held} MiB")
    lines += [f"fault: {fault}" for fault in result["faults"]]
    lines += [f"{'met   ' if met else 'MISSED'} {bar}" for bar, met in result["bars"].items()]
    return "\n".join(lines)
