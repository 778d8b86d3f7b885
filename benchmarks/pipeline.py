"""Time and peak memory of each stage: cold, with nothing changed, after a day of the world.

`python -m benchmarks.pipeline --persons 100000` makes a world and a home of its own in a temporary
folder, runs the pipeline as a person would (`klantbeeld run`), and prints one table. Seconds depend
on the machine; the row "of cold" is what to compare.

Memory is the resident memory of the run and its children together, sampled 20 times a second and
credited to the stage that reported next.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
KLANTBEELD = Path(sys.executable).parent / "klantbeeld"
_SAMPLE_SECONDS = 0.05
_MARKS = "·=✗!"
_PATH = [
    "load",
    "clean",
    "harmonise",
    "link",
    "publish",
    "measure",
    "choose",
    "shape",
    "send",
    "check",
]


@dataclass
class Run:
    """One run of the pipeline, measured from outside."""

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    exit_code: int = 0
    stage_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stage_memory: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def peak_memory(self) -> int:
        """Bytes."""
        return max(self.stage_memory.values(), default=0)


def measure(name: str, environment: dict[str, str], figures: Path) -> Run:
    """Run the pipeline once and measure it."""
    run = Run(name)
    started = time.monotonic()
    process = subprocess.Popen(
        [str(KLANTBEELD), "run", "--json", str(figures)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    peak, cpu, ended = [0], defaultdict(float), threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peak, cpu, ended.is_set))
    sampler.start()
    for line in process.stderr:
        sys.stderr.write(line)
        if line[:1] in _MARKS and len(line.split()) > 1:
            stage = line.split()[1]
            run.stage_memory[stage] = max(run.stage_memory[stage], peak[0])
            peak[0] = 0
    run.exit_code = process.wait()
    ended.set()
    sampler.join()
    run.seconds = time.monotonic() - started
    run.cpu_seconds = sum(cpu.values())
    for entry in json.loads(figures.read_text())["lines"]:
        run.stage_seconds[entry["stage"]] += entry["seconds"]
    return run


def _sample(
    pid: int, peak: list[int], cpu: defaultdict[int, float], ended: Callable[[], bool]
) -> None:
    root = psutil.Process(pid)
    while not ended():
        total = 0
        try:
            processes = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                total += process.memory_info().rss
                times = process.cpu_times()
                cpu[process.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        peak[0] = max(peak[0], total)
        time.sleep(_SAMPLE_SECONDS)


def report(persons: int, runs: list[Run]) -> str:
    """A Markdown table: a row per stage, seconds and peak memory per run."""
    stages = [stage for stage in _PATH if any(run.stage_seconds.get(stage) for run in runs)]
    lines = [
        f"{persons:,} persons, {os.cpu_count()} cores",
        "",
        "| stage | " + " | ".join(f"{run.name} s | MB" for run in runs) + " |",
        "|---|" + "---:|---:|" * len(runs),
    ]
    for stage in stages:
        cells = " | ".join(
            f"{run.stage_seconds.get(stage, 0):.1f} | {run.stage_memory.get(stage, 0) / 1e6:.0f}"
            for run in runs
        )
        lines.append(f"| {stage} | {cells} |")
    cells = " | ".join(f"{run.seconds:.1f} | {run.peak_memory / 1e6:.0f}" for run in runs)
    lines.append(f"| whole run, wall | {cells} |")
    lines.append("| whole run, CPU | " + " | ".join(f"{r.cpu_seconds:.1f} | " for r in runs) + "|")
    cold = runs[0]
    lines.append(
        "| of cold, wall | " + " | ".join(f"{r.seconds / cold.seconds:.2f} | " for r in runs) + "|"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "KLANTBEELD_HOME": f"{folder}/home",
            "KLANTBEELD_ENVIRONMENT": "demo",
            "KLANTBEELD_DEMO__DIR": f"{folder}/demo",
            "KLANTBEELD_DEMO__PERSONS": str(options.persons),
        }
        figures = Path(folder) / "figures.json"

        def command(*arguments: str) -> None:
            subprocess.run([str(KLANTBEELD), *arguments], env=environment, check=True)

        try:
            command("demo", "start")
            runs = [measure("cold", environment, figures)]
            runs.append(measure("unchanged", environment, figures))
            command("demo", "advance", "--days", "1")
            runs.append(measure("after a day", environment, figures))
        finally:
            command("demo", "stop")
    print(report(options.persons, runs))
    if any(run.exit_code for run in runs):
        sys.exit(f"exit codes: {[run.exit_code for run in runs]}")


if __name__ == "__main__":
    main()
