"""`bulkhead serve` on the fake runtime, as a process of its own, for the tests that want the real thing."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
START_SECONDS = 120


@dataclass(frozen=True)
class LiveServer:
    url: str
    key: str
    tenant: str


@contextmanager
def live_server(place: Path) -> Iterator[LiveServer]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "BULKHEAD_STATE_DIR": str(place / "state"),
        "BULKHEAD_CACHE_DIR": str(place / "cache"),
        "BULKHEAD_RUNTIME": "fake",
        "BULKHEAD_ALLOW_FAKE": "1",
        "BULKHEAD_QUOTA_REQUESTS_PER_SECOND": "unlimited",
        "BULKHEAD_LOG_LEVEL": "error",
    }
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(  # noqa: S603
            [CHECKOUT / "bulkhead", "serve", "--json", "--port", "0"], env=environment, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        timer = threading.Timer(START_SECONDS, process.kill)
        timer.start()
        try:
            told: dict[str, str] = {}
            for line in process.stdout:
                event = json.loads(line)
                told.update(event)
                if event["event"] == "ready":
                    break
            else:
                raise RuntimeError(f"bulkhead serve did not start:\n{(place / 'log').read_text()[-4000:]}")
            timer.cancel()
            yield LiveServer(told["url"], told["secret"], told["tenant"])
        finally:
            timer.cancel()
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
