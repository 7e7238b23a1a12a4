"""Eight clients at once against a running `meddenoise serve`: is any answer lost or mixed up, is /info prompt?

Each client sends 25 requests, one after the other: volumes of several shapes and types, by name or as an upload, at
several strengths. Every answer is compared voxel by voxel with what the Denoiser gives directly. The line in front of
the device is shorter than the number of clients, so that some are refused with 429; they come back after the
Retry-After that they were told. In between come faults: a damaged file, a wrong option, a client that hangs up. Someone
else asks for /info all the time. A request is lost if it ends without its image.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
from common import publish, table
from numpy.typing import NDArray

from meddenoise.inference import Denoiser
from meddenoise.io import read_volume, write_volume
from meddenoise.server.process import server_process
from meddenoise.server.serve import free_port
from meddenoise.volume import Header, Volume

SHAPES = ((1, 256, 256), (6, 128, 96), (12, 160, 192), (20, 96, 130), (3, 320, 240), (32, 64, 64))
DTYPES = ("int16", "float32", "uint16")
STRENGTHS = (1.0, 0.5)
WAITING = 4
"""Places in the line; with one that runs, three of eight clients are refused when all come at once."""
ATTEMPTS = 100
INFO_SECONDS = 0.1
INFO_LIMIT_MS = 100.0
FAULT_EVERY = 5

Expected = dict[tuple[str, float], NDArray[Any]]


@dataclass
class Tally:
    """What the clients saw, counted by all of them."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    info: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, what: str) -> None:
        """Count one event."""
        with self.lock:
            self.counts[what] += 1


def make_studies(folder: Path) -> dict[str, Path]:
    """Noisy volumes, no two of the same content; their files by name."""
    files = {}
    for number, shape in enumerate(SHAPES):
        for dtype in DTYPES:
            rng = np.random.default_rng(len(files))
            _, y, x = np.indices(shape)
            values = 400 + 10 * number + 300 * ((x // 20 + y // 30) % 2) + rng.normal(0, 60, shape)
            header = Header(dtype=dtype, stored_range=None if dtype == "float32" else (0.0, 32767.0))
            stored = values.astype(dtype) if dtype == "float32" else np.rint(values).clip(0).astype(dtype)
            name = f"volume-{len(files)}"
            volume = Volume(stored, np.diag([0.7, 0.8, 2.0, 1.0]), "MR", header)
            files[name] = write_volume(volume, folder / f"{name}.nrrd")
    return files


def expect(files: dict[str, Path]) -> Expected:
    """What the Denoiser gives for each volume and strength."""
    denoise = Denoiser.load("student")
    volumes = {name: read_volume(file, modality="MR") for name, file in files.items()}
    return {
        (name, strength): denoise(volume, strength=strength).volume.array
        for name, volume in volumes.items()
        for strength in STRENGTHS
    }


def client(url: str, number: int, count: int, files: dict[str, Path], expected: Expected, tally: Tally) -> None:
    """One client's requests, drawn by its own random numbers."""
    rng = np.random.default_rng(number)
    names = list(files)
    with requests.Session() as session, tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            name, strength = names[rng.integers(len(names))], STRENGTHS[rng.integers(len(STRENGTHS))]
            upload = bool(rng.integers(2))
            start = time.monotonic()
            try:
                answer = ask(session, url, name, strength, files[name] if upload else None, tally)
                got = None if answer is None else _array(answer, Path(folder) / "result.nrrd")
            except (requests.RequestException, OSError) as error:
                print(f"client {number}: {error}", file=sys.stderr)
                got = None
            tally.add(judge(got, name, strength, expected))
            tally.seconds.append(time.monotonic() - start)
            if index % FAULT_EVERY == FAULT_EVERY - 1:
                fault(session, url, number + index // FAULT_EVERY, tally)


def ask(
    session: requests.Session, url: str, name: str, strength: float, file: Path | None, tally: Tally
) -> requests.Response | None:
    """Send one request until it is let in; None where it was answered by an error or never let in."""
    data = {"params": json.dumps({"strength": strength, "modality": "MR"})}
    for _ in range(ATTEMPTS):
        sent = None if file is None else {"file": (file.name, file.read_bytes())}
        query = {"output": "image", **({"image": name} if file is None else {})}
        answer = session.post(f"{url}/infer/student", params=query, data=data, files=sent, timeout=300)
        if answer.status_code == requests.codes.too_many_requests:
            tally.add("refused")
            time.sleep(float(answer.headers["Retry-After"]))
            continue
        if answer.ok:
            return answer
        print(f"{answer.status_code}: {answer.text[:200]}", file=sys.stderr)
        return None
    return None


def judge(got: NDArray[Any] | None, name: str, strength: float, expected: Expected) -> str:
    """One of "right", "lost", "mixed up" (another request's answer) and "wrong"."""
    if got is None:
        return "lost"
    if np.array_equal(got, expected[name, strength]):
        return "right"
    others = (key for key, array in expected.items() if np.array_equal(array, got))
    return "mixed up" if any(others) else "wrong"


def fault(session: requests.Session, url: str, number: int, tally: Tally) -> None:
    """A request that must be refused, or one whose client hangs up; every kind in turn."""
    address = f"{url}/infer/student"
    kind = ("damaged file", "wrong option", "client hung up")[number % 3]
    tally.add(kind)
    if kind == "client hung up":
        try:
            requests.post(address, params={"image": "volume-6"}, timeout=(5, 0.05))
        except requests.exceptions.ReadTimeout:
            return
        return  # answered so quickly: refused, or done
    if kind == "damaged file":
        query, sent, right = {}, {"file": ("volume.nrrd", b"NRRD0004\nno header")}, {422, 429}
        answer = session.post(address, params=query, files=sent, timeout=300)
    else:
        right = {400}
        answer = session.post(address, params={"image": "volume-0"}, data={"params": '{"strength": 7}'}, timeout=300)
    if answer.status_code not in right:
        tally.add("fault not refused")
        print(f"{kind}: {answer.status_code} {answer.text[:200]}", file=sys.stderr)


def _array(answer: requests.Response, path: Path) -> NDArray[Any]:
    path.write_bytes(answer.content)
    return read_volume(path, modality="MR").array


def ask_info(url: str, pid: int, stop: threading.Event, tally: Tally) -> None:
    """Ask for /info ten times a second and look at the server's memory."""
    with requests.Session() as session:
        while not stop.wait(INFO_SECONDS):
            start = time.monotonic()
            answer = session.get(f"{url}/info/", timeout=60)
            tally.info.append(1000 * (time.monotonic() - start))
            tally.memory.append(resident(pid))
            if not answer.ok:
                tally.add("info failed")


def resident(pid: int) -> float:
    """A process's memory in MiB; 0 where the system has no /proc."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, int]]:
    """`meddenoise serve` over a folder's studies: its address and its process id."""
    port = free_port()
    note = folder / "pid"
    start = f"import os, pathlib, sys; pathlib.Path({str(note)!r}).write_text(str(os.getpid()))"
    command = [sys.executable, "-c", f"{start}; from meddenoise.cli import main; sys.exit(main())"]
    command += ["serve", "--studies", str(folder / "studies"), "--port", str(port)]
    environment = {"MEDDENOISE_WAITING": str(WAITING), "MEDDENOISE_HOME": str(folder / "home")}
    log = folder / "log"
    with server_process(folder / "studies", port=port, log=log, environment=environment, command=command) as url:
        yield url, int(note.read_text())


def measure(clients: int, count: int) -> Tally:
    """Run it all."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        files = make_studies(studies)
        expected = expect(files)
        with running(Path(folder)) as (url, pid), requests.Session() as session:
            for name in files:  # so that the memory of the largest volume is not taken for growth
                ask(session, url, name, 1.0, None, tally)
            stop = threading.Event()
            info = threading.Thread(target=ask_info, args=(url, pid, stop, tally))
            threads = [
                threading.Thread(target=client, args=(url, number, count, files, expected, tally))
                for number in range(clients)
            ]
            for thread in (info, *threads):
                thread.start()
            for thread in threads:
                thread.join()
            stop.set()
            info.join()
    return tally


def main() -> None:
    """Measure and publish; exit 1 where something was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=25, help="of each client")
    arguments = parser.parse_args()
    start = time.monotonic()
    tally = measure(arguments.clients, arguments.requests)
    third = max(1, len(tally.memory) // 3)
    parts = (slice(third), slice(third, -third), slice(-third, None))
    memory = [float(np.median(tally.memory[part])) for part in parts]
    counts = tally.counts
    figures = {
        "requests": arguments.clients * arguments.requests,
        **{key: counts[key] for key in ("right", "lost", "mixed up", "wrong", "refused")},
        "faults": {key: counts[key] for key in ("damaged file", "wrong option", "client hung up")},
        "faults_not_refused": counts["fault not refused"],
        "info_failed": counts["info failed"],
        "info_asked": len(tally.info),
        "info_p50_ms": round(float(np.percentile(tally.info, 50)), 1),
        "info_p95_ms": round(float(np.percentile(tally.info, 95)), 1),
        "info_max_ms": round(float(np.max(tally.info)), 1),
        "request_p50_s": round(float(np.percentile(tally.seconds, 50)), 2),
        "request_p95_s": round(float(np.percentile(tally.seconds, 95)), 2),
        "memory_mib": [round(value) for value in memory],
        "seconds": round(time.monotonic() - start),
    }
    publish("load", page(figures, arguments.clients), figures)
    bad = sum(counts[key] for key in ("lost", "mixed up", "wrong", "fault not refused", "info failed"))
    if bad or figures["info_p95_ms"] > INFO_LIMIT_MS:
        sys.exit("something was lost, wrong or slow")


def page(figures: dict[str, Any], clients: int) -> str:
    """The figures as a Markdown page."""
    rows = [
        ["requests", f"{figures['requests']} by {clients} clients in {figures['seconds']} s"],
        ["answered with the Denoiser's own voxels", str(figures["right"])],
        ["lost", str(figures["lost"])],
        ["mixed up / otherwise wrong", f"{figures['mixed up']} / {figures['wrong']}"],
        ["refused with 429 and sent again", str(figures["refused"])],
        ["faults in between", ", ".join(f"{count} x {kind}" for kind, count in figures["faults"].items())],
        ["faults not answered as they must be", str(figures["faults_not_refused"])],
        ["request, median / 95th percentile", f"{figures['request_p50_s']} / {figures['request_p95_s']} s"],
        [
            "/info, median / 95th percentile / slowest",
            f"{figures['info_p50_ms']} / {figures['info_p95_ms']} / {figures['info_max_ms']} ms"
            f" of {figures['info_asked']}",
        ],
        ["server's memory, first / middle / last third", " / ".join(map(str, figures["memory_mib"])) + " MiB"],
    ]
    return "\n\n".join(["# Eight clients, one server", (__doc__ or "").strip(), table(["", ""], rows)])


if __name__ == "__main__":
    main()
