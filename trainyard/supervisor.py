"""Keeps processes alive: starts them in order, starts again what dies, ends them all, and leaves none behind."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TETHER = Path(__file__).with_name("tether.py")


class Failed(Exception):
    """A process that cannot be kept running; the sentence says which, and how it ended."""


@dataclass(frozen=True)
class Program:
    """One process to keep.

    Attributes:
        healthy: asked again and again after the first start; None when nobody needs to wait.
        fds: open file descriptors that it inherits, the same each time it is started.
        ends_last: whether the others still need it while they end.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    healthy: Callable[[], Awaitable[bool]] | None = None
    fds: tuple[int, ...] = ()
    ends_last: bool = False


@dataclass(frozen=True)
class Patience:
    """How long things may take, in seconds, and how often they may go wrong."""

    start: float = 60.0  # until a program answers for the first time
    stop: float = 15.0  # between SIGTERM and SIGKILL
    settled: float = 30.0  # a program that ran so long begins with a clean slate
    first_pause: float = 0.5  # before the first restart; doubled each time
    longest_pause: float = 10.0
    restarts: int = 5  # in a row, until it is given up


@dataclass
class Supervisor:
    """Runs programs for one `body`; `log(name, line)` gets what they print, `say(sentence)` what happens to them."""

    log: Callable[[str, str], None]
    say: Callable[[str], None]
    patience: Patience = field(default_factory=Patience)
    _running: dict[str, tuple[Program, Process, asyncio.Task[None]]] = field(default_factory=dict)
    _keepers: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, body: Callable[[], Awaitable[int]]) -> int:
        """Run `body`, which calls `start`, then end every program.

        Answers the exit code: the body's own, 0 after SIGINT, SIGTERM or SIGHUP, 1 when a program was given up.
        """
        loop = asyncio.get_running_loop()
        self._given_up: asyncio.Future[None] = loop.create_future()
        self._asked, self._hurry = asyncio.Event(), asyncio.Event()
        signals = [signal.SIGINT, signal.SIGTERM]
        # Under nohup the end of the terminal is to be ignored.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal, number)
        work = asyncio.ensure_future(body())
        asked = asyncio.ensure_future(self._asked.wait())
        first: tuple[asyncio.Future[Any], ...] = (work, asked, self._given_up)
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if self._given_up.done():
                self._given_up.result()
            return await work if work.done() else 0
        except Failed as failure:
            self.say(str(failure))
            return 1
        finally:
            for task in (work, asked, *self._keepers):
                task.cancel()
            await asyncio.gather(work, asked, *self._keepers, return_exceptions=True)
            await self._end_all()
            for number in signals:
                loop.remove_signal_handler(number)

    async def complete(self, program: Program) -> None:
        """Run a program to its end.

        Raises:
            Failed: it ended with another code than 0.
        """
        process, output = await self._spawn(program)
        code = await process.wait()
        await self._tidy(program, process, output)
        if code != 0:
            raise Failed(f"{program.name} {how_it_ended(code)}.")

    async def start(self, program: Program) -> None:
        """Start a program, wait until it is healthy, and from then on keep it running.

        Raises:
            Failed: it ended before, or did not become healthy in time.
        """
        process, output = await self._spawn(program)
        if program.healthy is not None:
            await self._wait_until_healthy(program, process, output)
        self._keepers.append(asyncio.ensure_future(self._keep(program, process, output)))

    async def _wait_until_healthy(self, program: Program, process: Process, output: asyncio.Task[None]) -> None:
        assert program.healthy is not None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience.start
        while not await program.healthy():
            if process.returncode is not None:
                await self._tidy(program, process, output)
                raise Failed(f"{program.name} {how_it_ended(process.returncode)} before it answered.")
            if loop.time() > deadline:
                await self._end(process)
                await self._tidy(program, process, output)
                raise Failed(f"{program.name} did not answer within {self.patience.start:g} seconds.")
            await asyncio.sleep(0.05)

    async def _keep(self, program: Program, process: Process, output: asyncio.Task[None]) -> None:
        patience, loop = self.patience, asyncio.get_running_loop()
        started, restarts = loop.time(), 0
        while True:
            code = await process.wait()
            await self._tidy(program, process, output)
            lived = loop.time() - started
            restarts = 1 if lived > patience.settled else restarts + 1
            if restarts > patience.restarts:
                message = (
                    f"{program.name} {how_it_ended(code)} after {lived:.1f} s; given up after {restarts} such ends."
                )
                if not self._given_up.done():
                    self._given_up.set_exception(Failed(message))
                return
            pause = min(patience.first_pause * 2 ** (restarts - 1), patience.longest_pause)
            self.say(
                f"{program.name} {how_it_ended(code)} after {lived:.1f} s; "
                f"starting it again in {pause:g} s ({restarts} of {patience.restarts})."
            )
            await asyncio.sleep(pause)
            process, output = await self._spawn(program)
            started = loop.time()

    async def _spawn(self, program: Program) -> tuple[Process, asyncio.Task[None]]:
        # An own pipe: with asyncio's, waiting for a process also waits for grandchildren that hold its output.
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *program.command),
                env=program.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                pass_fds=program.fds,
                # Ctrl-C at the terminal is for the supervisor, which ends the programs in order.
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        output = asyncio.ensure_future(self._pass_on(program.name, reading))
        self._running[program.name] = (program, process, output)
        return process, output

    async def _pass_on(self, name: str, reading: int) -> None:
        """Give each line of a program's output to the log."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", buffering=0)
        )
        rest = b""
        with contextlib.closing(transport):
            while chunk := await stream.read(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.log(name, line.decode(errors="replace").rstrip())
        if rest:
            self.log(name, rest.decode(errors="replace").rstrip())

    async def _tidy(self, program: Program, process: Process, output: asyncio.Task[None]) -> None:
        """After a program's end: kill what it left of its process group, and read its last words."""
        kill_group(process)
        self._running.pop(program.name, None)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(output, 2)

    async def _end_all(self) -> None:
        for last in (False, True):
            wave = [entry for entry in self._running.values() if entry[0].ends_last is last]
            await asyncio.gather(*(self._end(process) for _, process, _ in wave))
            for program, process, output in wave:
                await self._tidy(program, process, output)

    async def _end(self, process: Process) -> None:
        """SIGTERM to the process, which ends its own children; SIGKILL to its whole group when that takes too long."""
        if process.returncode is None and not self._hurry.is_set():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            ended, hurry = asyncio.ensure_future(process.wait()), asyncio.ensure_future(self._hurry.wait())
            await asyncio.wait({ended, hurry}, timeout=self.patience.stop, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
        kill_group(process)
        await process.wait()

    def _on_signal(self, number: int) -> None:
        if self._asked.is_set() and number == signal.SIGINT:
            self._hurry.set()
        elif not self._asked.is_set():
            self._asked.set()
            self.say(f"Received {signal.Signals(number).name}: stopping (Ctrl-C once more kills at once).")


def kill_group(process: Process) -> None:
    """SIGKILL to all that is left in the process group that a program leads."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def how_it_ended(code: int) -> str:
    """An exit code as asyncio gives it, in words: negative is the number of a signal."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
