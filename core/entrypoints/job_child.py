"""One step of one job, in a process of its own.

    python -m core.entrypoints.job_child JOB_ID STEP FILE_DESCRIPTOR

The outcome goes to the parent as one JSON object through a pipe's descriptor, because
libraries write to stdout as they please. The process ends itself when its parent is gone: the
step will be run again by the next controller, and must not run twice at once.
"""

import json
import logging
import os
import sys
import threading
import time
from typing import Any

from core.entrypoints.job_bodies import body_of
from core.entrypoints.job_context import ChildJobContext
from core.errors import BOuteError, Cancelled, NotFound
from core.settings import load_settings
from db.unit_of_work import uow_factory

log = logging.getLogger(__name__)


def main(job_id: str, step: str, result_fd: int) -> int:
    """Run the step and write its outcome; return the exit status."""
    _end_with_parent(os.getppid())
    outcome = _outcome(job_id, step)
    with os.fdopen(result_fd, "w", encoding="utf-8") as pipe:
        json.dump(outcome, pipe)
    return 0 if "result" in outcome else 1


def _outcome(job_id: str, step: str) -> dict[str, Any]:
    try:
        return {"result": _run(job_id, step)}
    except Cancelled as error:
        return {"cancelled": error.message}
    except BOuteError as error:
        log.warning("%s", error)
        return {"error": error.message, "hint": error.hint}


def _run(job_id: str, step: str) -> dict[str, Any]:
    uow = uow_factory(load_settings().database_url)
    with uow() as work:
        job = work.jobs.get(job_id)
    if job is None:
        raise NotFound("The job is gone from the database.")
    return body_of(job.kind).run(step, ChildJobContext(job, uow))


def _end_with_parent(parent_pid: int) -> None:
    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os._exit(3)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
