"""GuideLLM as an outside process: what it is told to do, and what its report says.

GuideLLM (https://github.com/vllm-project/guidellm, Apache-2.0) brings an environment of its own
and is no part of this one.
"""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from core.errors import EngineFailed, InvalidInput
from core.serving.launcher import WITHHELD

VERSION = "0.8.1"
INSTALL = (
    "Install it in an environment of its own: python3 -m venv DIR && DIR/bin/pip install "
    f"guidellm=={VERSION}; then give --guidellm DIR/bin/guidellm."
)
COOL_DOWN_S = 3.0
"""Not counted, at its end, when it breaks off what is under way: longer than an answer takes, so
that what was under way at the end of its window is answered, and in its report."""
START_S = 60.0
"""Most seconds it may take to import, start its worker and write its report."""
REPORT, OUTPUT = "report.json", "guidellm.out"


@dataclass(frozen=True, slots=True)
class Seen:
    """One answered request, as the tool that sent it saw it.

    Attributes:
        ended_at_s: Seconds since the epoch.
        e2e_ms: From sending to the end.
        ttft_ms: Time to first token.
        tpot_ms: Mean time per output token after the first.
        input_tokens: Prompt length as the engine counted it.
        output_tokens: Answer length as the engine counted it.
    """

    ended_at_s: float
    e2e_ms: float
    ttft_ms: float
    tpot_ms: float
    input_tokens: float
    output_tokens: float

    def under_way_s(self, window_s: tuple[float, float]) -> float:
        """Seconds of a window, given since the epoch, in which it was not answered yet."""
        began_s = self.ended_at_s - self.e2e_ms / 1000
        return max(0.0, min(self.ended_at_s, window_s[1]) - max(began_s, window_s[0]))


@dataclass(frozen=True)
class Report:
    """What GuideLLM found.

    Attributes:
        version: Of GuideLLM.
        window_s: Its counted window between warm-up and cool-down, seconds since the epoch.
        seen: Every answered request, those outside the window too.
    """

    version: str
    window_s: tuple[float, float]
    seen: tuple[Seen, ...]


@dataclass(frozen=True)
class Task:
    """What GuideLLM shall do.

    Attributes:
        base_url: The server, without `/v1`.
        model: Name in the OpenAI API.
        tokenizer: Folder of the model; GuideLLM insists on one.
        prompts: Text and number of output tokens of each request, asked in this order.
        concurrency: Requests to keep in flight.
        warm_up_s: Not counted, at the beginning.
        seconds: Counted.
    """

    base_url: str
    model: str
    tokenizer: Path
    prompts: Sequence[tuple[str, int]]
    concurrency: int
    warm_up_s: float
    seconds: float


def require(program: Path) -> None:
    """Check that there is a GuideLLM to run.

    Raises:
        InvalidInput: There is none; tells how to install it.
    """
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise InvalidInput(f"There is no program {str(program)!r}.", INSTALL)


class Running:
    """GuideLLM at work."""

    def __init__(self, child: subprocess.Popen[bytes], folder: Path, patience_s: float) -> None:
        self._child = child
        self._folder = folder
        self._patience_s = patience_s
        self._deadline_s = time.monotonic() + patience_s

    def over(self) -> bool:
        """Whether it has ended, or had its time."""
        return self._child.poll() is not None or time.monotonic() > self._deadline_s

    def report(self) -> Report:
        """Return what it found, once it is over.

        Raises:
            EngineFailed: It failed, took too long, or its report is of another shape.
        """
        status = self._child.poll()
        if status != 0:
            slow = f"took longer than {self._patience_s:.0f} s"
            raise EngineFailed(
                f"GuideLLM {slow if status is None else f'failed with status {status}'}: "
                + _last_words(self._folder / OUTPUT)
            )
        path = self._folder / REPORT
        return read_report(path.read_text() if path.exists() else "")


@contextmanager
def running(program: Path, task: Task, folder: Path) -> Iterator[Running]:
    """Start GuideLLM's closed loop; it and its workers are ended on the way out.

    Its processes stay on the cores of this thread.

    Args:
        folder: Empty, for its files.
    """
    data, config = folder / "requests.jsonl", folder / "scenario.json"
    rows = [{"prompt": text, "output_tokens_count": tokens} for text, tokens in task.prompts]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config.write_text(json.dumps(scenario(task, data, folder / REPORT)))
    child = _started([str(program), "run", "--config", str(config), "--disable-console"], folder)
    try:
        yield Running(child, folder, _duration_s(task) + START_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def scenario(task: Task, data: Path, report: Path) -> dict[str, Any]:
    """Return GuideLLM's scenario file.

    The requests are BOute's but for the name of the token limit: by itself GuideLLM samples at
    the model's temperature, asks for usage with every token, which costs the server time, and
    does not see tokens without text, such as the end-of-sequence token it has ignored.
    """
    body = {
        "temperature": 0,
        "skip_special_tokens": False,
        "stream_options": {"continuous_usage_stats": False},
    }
    warm_up = {"value": task.warm_up_s, "mode": "duration"}
    cool_down = {"value": COOL_DOWN_S, "mode": "duration"}
    return {
        "spec": {
            "backend": {
                "kind": "openai_http",
                "target": task.base_url,
                "model": task.model,
                "request_format": "/v1/chat/completions",
                "extras": {"body": body},
            },
            "profile": {
                "kind": "concurrent",
                "streams": task.concurrency,
                "warmup": warm_up,
                "cooldown": cool_down,
            },
            "constraints": [{"kind": "max_duration", "seconds": _duration_s(task)}],
            "tokenizer": {"kind": "huggingface_auto", "model": str(task.tokenizer)},
            "data": [{"kind": "json_file", "path": str(data)}],
            "outputs": [{"kind": "json", "path": str(report)}],
            "metrics": {"kind": "generative", "sample_size": 0},
        },
    }


def read_report(text: str) -> Report:
    """Return GuideLLM's own times of every request.

    Its inter-token latency, not its time per output token (which counts the first token in), is
    what BOute and vLLM call TPOT. Its own summary weights that latency by tokens, so that the
    median is over tokens; the values per request are what a median over requests is made of.

    Args:
        text: Its JSON report of one benchmark, as version 0.8 writes it.

    Raises:
        EngineFailed: Requests failed, or the report has another shape.
    """
    try:
        report = json.loads(text)
        (benchmark,) = report["benchmarks"]
        failed = len(benchmark["requests"]["errored"])
        found = Report(
            version=str(report["metadata"]["guidellm_version"]),
            window_s=(float(benchmark["start_time"]), float(benchmark["end_time"])),
            seen=tuple(_seen(request) for request in benchmark["requests"]["successful"]),
        )
        _require_sound(found)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise EngineFailed(
            f"GuideLLM's report cannot be read: {type(error).__name__}: {error}",
            f"This was written for guidellm {VERSION}.",
        ) from error
    if failed:
        raise EngineFailed(
            f"{failed} of GuideLLM's requests failed.", "Look at the replica's log."
        )
    return found


def _seen(request: Mapping[str, Any]) -> Seen:
    return Seen(
        ended_at_s=float(request["request_end_time"]),
        e2e_ms=1000 * float(request["request_latency"]),
        ttft_ms=float(request["time_to_first_token_ms"]),
        tpot_ms=float(request["inter_token_latency_ms"]),
        input_tokens=float(request["prompt_tokens"]),
        output_tokens=float(request["output_tokens"]),
    )


def _require_sound(report: Report) -> None:
    began_s, ended_s = report.window_s
    if not 0 < began_s < ended_s < math.inf:
        raise ValueError(f"a window from {began_s} to {ended_s}")
    for seen in report.seen:
        if not all(0 < figure < math.inf for figure in astuple(seen)):
            raise ValueError(f"a request with {seen}")


def _duration_s(task: Task) -> float:
    return task.warm_up_s + task.seconds + COOL_DOWN_S


def _started(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    inherited = {k: v for k, v in os.environ.items() if k not in WITHHELD}
    # One worker: more of them only take the one core from each other.
    own = {"GUIDELLM__MAX_WORKER_PROCESSES": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    with (folder / OUTPUT).open("wb") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, **own},
            start_new_session=True,
        )


def _last_words(path: Path) -> str:
    said = path.read_text(errors="replace").strip().splitlines()[-5:]
    return " ".join(said)[-600:]
