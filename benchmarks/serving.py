"""Prediction side by side: Trainyard's API, what its server takes by itself, FastAPI with Keras, and other servers.

`python -m benchmarks.serving` lets a service train two small networks, starts every server that is installed on the
same ONNX file, checks that all answer alike, and lets them take turns under load. It needs Linux.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import beside
from benchmarks.load import LoadFailed, request_bytes
from benchmarks.machine import machine_facts
from benchmarks.rounds import ROOT, ContestantFailed, rotated
from benchmarks.served import ENDPOINTS, NETWORKS, PROGRAMS, RIVALS, Deployment, picture_of, rival, train
from benchmarks.servers import Server, free_port, inherited
from benchmarks.serving_table import OURS, Figures, Row, as_json, rendered, verdicts
from trainyard.errors import TrainyardError

CASES = (("mlp", 28), ("mlp", 280), ("cnn", 28))
CONCURRENCIES = (1, 16)
WARM_SECONDS, WARM_CONCURRENCY = 0.5, 4
# Other mathematics libraries, other roundings.
TOLERANCE = 1e-4


def main() -> None:
    """Measure what the options ask for."""
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Told to end."))  # so that every server is ended on the way out
    facts = machine_facts()
    print(f"{facts['cpu']}, {facts['cores']} cores, load {facts['load_before']:.1f}", flush=True)
    report: dict[str, Any] = {"machine": facts, "options": {**vars(options), "json": str(options.json)}, "cases": {}}
    contestants = [name for name in ENDPOINTS if name in (options.contestant or ENDPOINTS) and installed(name)]
    networks = list(dict.fromkeys(network for network, _ in options.cases))
    with tempfile.TemporaryDirectory() as home:
        deployments = train(Path(home), networks)
        for network in networks:
            sizes = [size for name, size in options.cases if name == network]
            compare(deployments[network], contestants, sizes, options, report)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=2) + "\n")
    report["machine"]["load_after"] = os.getloadavg()[0]
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nEvery figure is in {options.json}.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options; `cases` is what --network and --size leave, pairs of both."""
    parser = argparse.ArgumentParser(prog="benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--contestant", action="append", choices=list(ENDPOINTS), help="only this one; may be repeated")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="only this one; may be repeated")
    parser.add_argument("--size", action="append", type=int, help="pixels a side of the picture; may be repeated")
    parser.add_argument("--seconds", type=float, help="of load a turn (2)")
    parser.add_argument("--rounds", type=int, help="turns of each contestant at each concurrency (5)")
    parser.add_argument("--quick", action="store_true", help="one round of 0.3 s, one case, to see that it works")
    parser.add_argument("--json", type=Path, default=ROOT / "var" / "bench" / "serving.json", help="where figures go")
    options = parser.parse_args(arguments)
    options.seconds = options.seconds or (0.3 if options.quick else 2.0)
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.cases = chosen(options.network, options.size, options.quick)
    if not 0 < options.seconds <= 60 or not 0 < options.rounds <= 100:
        given = f"--seconds {options.seconds:g} --rounds {options.rounds}"
        parser.error(f"A turn takes up to 60 seconds, and there are 1 to 100 rounds. Received: {given}")
    if not all(8 <= size <= 4000 for _, size in options.cases):
        parser.error(f"A picture has 8 to 4000 pixels a side. Received: --size {options.size}")
    return options


def chosen(networks: list[str] | None, sizes: list[int] | None, quick: bool) -> list[tuple[str, int]]:
    """The cases: those that are usual, or each network with each size."""
    if networks is None and sizes is None:
        return list(CASES[:1] if quick else CASES)
    return [(network, size) for network in networks or ("mlp",) for size in sizes or (28,)]


def installed(contestant: str) -> bool:
    """Whether a contestant can take part; says so when it cannot."""
    package = PROGRAMS[ENDPOINTS[contestant].program].package
    there = not package or any(RIVALS.glob(f"lib/python3*/site-packages/{package}/__init__.py"))
    if not there:
        print(f"{contestant}: skipped: not installed (make bench-serving-setup)", flush=True)
    return there


def compare(
    deployment: Deployment,
    contestants: list[str],
    sizes: list[int],
    options: argparse.Namespace,
    report: dict[str, Any],
) -> None:
    """Start all servers on one network and measure them with a picture of each size; print and report all figures."""
    with ExitStack() as stack:
        servers = start_all(stack, deployment, contestants, picture_of(sizes[0]))
        for size in sizes:
            picture = picture_of(size)
            rows = take_turns(servers, contestants, picture, options)
            case = f"{deployment.network}, {size}x{size} pixels, PNG of {len(picture)} bytes"
            print(f"\n{case}: {options.rounds} rounds of {options.seconds:g} s\n{rendered(rows)}", flush=True)
            print("\n".join(verdicts(rows)), flush=True)
            report["cases"][case] = list(map(as_json, rows))
        if OURS in contestants:
            picture = picture_of(sizes[0])
            with servers[OURS].turn() as server:
                pairs = beside.measure_beside(server, deployment, picture, options.seconds, options.rounds)
            print(f"\n{deployment.network}, {sizes[0]}x{sizes[0]} pixels at concurrency 1\n{beside.rendered(pairs)}")
            print("\n".join(beside.verdicts(pairs)), flush=True)
            report["cases"][f"{deployment.network} beside"] = beside.as_json(pairs)


def start_all(stack: ExitStack, deployment: Deployment, contestants: list[str], picture: bytes) -> dict[str, Server]:
    """The servers of the contestants, by program, one after the other and halted; they end with the stack."""
    servers: dict[str, Server] = {}
    for name in contestants:
        program = ENDPOINTS[name].program
        if program not in servers:
            servers[program] = stack.enter_context(started(name, deployment, picture))
            servers[program].halt()
    return servers


def started(contestant: str, deployment: Deployment, picture: bytes) -> Server:
    """The server of a contestant, to be entered, with what it needs prepared."""
    endpoint = ENDPOINTS[contestant]
    program, port = PROGRAMS[endpoint.program], free_port()
    environment = program.environment(deployment, port)
    if program.prepared_by and not deployment.prepared.exists():
        prepare(program.prepared_by, deployment, environment)
    request = request_bytes(port, endpoint.path, *endpoint.form(picture))
    return Server(endpoint.program, program.command(deployment, port), environment, port, request)


def prepare(module: str, deployment: Deployment, environment: dict[str, str]) -> None:
    """Let a module of the rivals' environment write its form of the model."""
    deployment.prepared.mkdir(parents=True)
    command = rival("python", "-m", module, str(deployment.prepared))
    done = subprocess.run(command, cwd=ROOT, env=inherited() | environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ContestantFailed(f"{module} ended with code {done.returncode}:\n{done.stderr[-2000:]}")


def take_turns(
    servers: dict[str, Server], contestants: list[str], picture: bytes, options: argparse.Namespace
) -> list[Row]:
    """Check the answers, warm everybody up, then round by round each contestant at each concurrency.

    A server is awake in its turn only, and halted before and after.
    """
    own = {name: servers[ENDPOINTS[name].program] for name in contestants}
    requests = {}
    for name in contestants:
        endpoint = ENDPOINTS[name]
        requests[name] = request_bytes(own[name].port, endpoint.path, *endpoint.form(picture))
    warm_up(own, requests)
    figures = {name: {at: Figures() for at in CONCURRENCIES} for name in contestants}
    for number in range(options.rounds):
        for name in rotated(contestants, number):
            with own[name].turn() as server:
                for at in CONCURRENCIES:
                    before = server.processor_seconds()
                    done = server.load(requests[name], at, options.seconds)
                    figures[name][at].add(done, server.processor_seconds() - before)
    return [Row(name, own[name].memory(), own[name].cold_seconds, figures[name]) for name in contestants]


def warm_up(own: dict[str, Server], requests: dict[str, bytes]) -> None:
    """Ask each contestant a few times. Raises ContestantFailed unless all who read the picture answer alike."""
    answers = {}
    for name, request in requests.items():
        read = ENDPOINTS[name].read
        with own[name].turn() as server:
            server.load(request, WARM_CONCURRENCY, WARM_SECONDS)
            if read is not None:
                answers[name] = read(json.loads(server.ask(request)))
    if disagree(list(answers.values())):
        raise ContestantFailed(f"They do not answer alike (label, probability): {answers}")


def disagree(answers: list[tuple[int, float]]) -> bool:
    """Whether labels differ, or probabilities by more than rounding."""
    if not answers:
        return False
    probabilities = [probability for _, probability in answers]
    return len({label for label, _ in answers}) > 1 or max(probabilities) - min(probabilities) > TOLERANCE


if __name__ == "__main__":
    try:
        main()
    except (ContestantFailed, LoadFailed, TrainyardError) as error:
        sys.exit(str(error))
