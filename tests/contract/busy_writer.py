"""A process that reads, then writes, many times.

`python -m tests.contract.busy_writer URL NAME N`, started several times at once, ends with a
traceback if the database is ever locked.
"""

import sys

from db.unit_of_work import uow_factory
from tests.contract import samples


def run(url: str, name: str, times: int) -> None:
    uow = uow_factory(url)
    for number in range(times):
        with uow() as work:
            work.requests.latest(10)
            work.jobs.active()
            work.requests.add([samples.request(f"{name}-{number}")])
            reported = work.jobs.report(name, (number + 1) / times, "writing", samples.NOW)
            assert reported
            work.commit()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
