"""GuideLLM as an outside process: what it is told to do, and what its report says.

GuideLLM (https://github.com/vllm-project/guidellm, Apache-2.0) brings an environment of its own
and is no part of this one.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
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
START_S = 40.0
"""Most seconds it may take to import, start its worker and write its report, per benchmark."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one tool saw of one replica at one concurrency, once.

    Attributes:
        requests: Answers that ended in the counted window.
        requests_per_s: Those per second of the window.
        output_tokens_per_s: Output tokens per second of the window.
        ttft_ms: Median time to first token.
        tpot_ms: Median over requests of the mean time per output token after the first.
        in_flight: Mean number of requests under way; less than asked for if the tool pauses
            between one answer and the next request.
        input_tokens: Mean prompt length as the engine counted it.
        output_tokens: Mean answer length as the engine counted it.
    """

    requests: int
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms: float
    tpot_ms: float
    in_flight: float
    input_tokens: float
    output_tokens: float

    def pause_s(self, concurrency: int) -> float:
        """Mean time without a request in each of the places, per request (Little's law)."""
        return max(0.0, concurrency - self.in_flight) / self.requests_per_s


@dataclass(frozen=True)
class Report:
    """What GuideLLM found.

    Attributes:
        version: Of GuideLLM.
        by_concurrency: One reading per number of requests in flight.
    """

    version: str
    by_concurrency: dict[int, Reading]


@dataclass(frozen=True)
class Task:
    """What GuideLLM shall do.

    Attributes:
        base_url: The server, without `/v1`.
        model: Name in the OpenAI API.
        tokenizer: Folder of the model; GuideLLM insists on one.
        prompts: Text and number of output tokens of each request, asked in this order.
        concurrencies: One benchmark each.
        warm_up_s: Not counted, at the beginning and at the end of each.
        seconds: Counted, of each.
    """

    base_url: str
    model: str
    tokenizer: Path
    prompts: Sequence[tuple[str, int]]
    concurrencies: Sequence[int]
    warm_up_s: float
    seconds: float


def require(program: Path) -> None:
    """Check that there is a GuideLLM to run.

    Raises:
        InvalidInput: There is none; tells how to install it.
    """
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise InvalidInput(f"There is no program {str(program)!r}.", INSTALL)


def measure(program: Path, task: Task, folder: Path) -> Report:
    """Run GuideLLM's closed loop; its processes stay on the cores of this thread.

    Args:
        folder: Empty, for its files.

    Raises:
        EngineFailed: It failed, took too long, or its report is of another shape.
    """
    data, report = folder / "requests.jsonl", folder / "report.json"
    rows = [{"prompt": text, "output_tokens_count": tokens} for text, tokens in task.prompts]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = folder / "scenario.json"
    config.write_text(json.dumps(scenario(task, data, report)))
    patience_s = len(task.concurrencies) * (task.seconds + 2 * task.warm_up_s + START_S)
    arguments = [str(program), "run", "--config", str(config), "--disable-console"]
    _run(arguments, folder, patience_s)
    found = read_report(report.read_text() if report.exists() else "")
    if set(found.by_concurrency) != set(task.concurrencies):
        raise EngineFailed(f"GuideLLM measured {sorted(found.by_concurrency)} in flight only.")
    return found


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
    aside = {"value": task.warm_up_s, "mode": "duration"}
    return {
        "spec": {
            "backend": {
                "kind": "openai_http",
                "target": task.base_url,
                "model": task.model,
                "request_format": "/v1/chat/completions",
                "extras": {"body": body},
            },
            "profile": {"kind": "concurrent", "streams": 1, "warmup": aside, "cooldown": aside},
            "constraints": [
                {"kind": "max_duration", "seconds": task.seconds + 2 * task.warm_up_s}
            ],
            "tokenizer": {"kind": "huggingface_auto", "model": str(task.tokenizer)},
            "data": [{"kind": "json_file", "path": str(data)}],
            "outputs": [{"kind": "json", "path": str(report)}],
            "metrics": {"kind": "generative", "sample_size": 0},
        },
        "benchmarks": [{"profile.streams": streams} for streams in task.concurrencies],
    }


def read_report(text: str) -> Report:
    """Return GuideLLM's own figures.

    Its inter-token latency, not its time per output token (which counts the first token in), is
    what BOute and vLLM call TPOT.

    Args:
        text: Its JSON report, as version 0.8 writes it.

    Raises:
        EngineFailed: Requests failed, or the report has another shape.
    """
    try:
        report = json.loads(text)
        readings = {
            int(b["config"]["strategy"]["streams"]): _reading(b["metrics"])
            for b in report["benchmarks"]
        }
        return Report(str(report["metadata"]["guidellm_version"]), readings)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise EngineFailed(
            f"GuideLLM's report cannot be read: {type(error).__name__}: {error}",
            f"This was written for guidellm {VERSION}.",
        ) from error


def _reading(metrics: Mapping[str, Any]) -> Reading:
    if failed := int(metrics["request_totals"]["errored"]):
        raise EngineFailed(
            f"{failed} of GuideLLM's requests failed.", "Look at the replica's log."
        )

    def of(name: str, statistic: str) -> float:
        return float(metrics[name]["successful"][statistic])

    reading = Reading(
        requests=int(of("requests_per_second", "count")),
        requests_per_s=of("requests_per_second", "mean"),
        output_tokens_per_s=of("output_tokens_per_second", "mean"),
        ttft_ms=of("time_to_first_token_ms", "median"),
        tpot_ms=of("inter_token_latency_ms", "median"),
        in_flight=of("request_concurrency", "mean"),
        input_tokens=of("prompt_token_count", "mean"),
        output_tokens=of("output_token_count", "mean"),
    )
    if not all(0 < figure < math.inf for figure in astuple(reading)):
        raise EngineFailed("GuideLLM counted no answer.", "Give it more seconds.")
    return reading


def _run(arguments: Sequence[str], folder: Path, patience_s: float) -> None:
    """Run to the end; its worker processes never outlive this call."""
    inherited = {k: v for k, v in os.environ.items() if k not in WITHHELD}
    # One worker: more of them only take the one core from each other.
    own = {"GUIDELLM__MAX_WORKER_PROCESSES": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    log_path = folder / "guidellm.out"
    with log_path.open("wb") as log:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**inherited, **own},
            start_new_session=True,
        )
        try:
            how = f"failed with status {child.wait(patience_s)}"
        except subprocess.TimeoutExpired:
            how = f"took longer than {patience_s:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if child.returncode != 0:
        said = log_path.read_text(errors="replace").strip().splitlines()[-5:]
        raise EngineFailed(f"GuideLLM {how}: {' '.join(said)[-600:]}")
