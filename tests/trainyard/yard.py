"""A small yard of stand-ins under a real supervisor, run as a process: `python -m tests.trainyard.yard FOLDER NAME...`.

Each stand-in notes its process id in FOLDER/NAME.pids. What it does besides follows from its name.
"""

import asyncio
import os
import sys
from pathlib import Path

from trainyard.console import Console
from trainyard.supervisor import Patience, Program, Supervisor

NOTE = "import os, signal, subprocess, sys, time; open(f'{name}.pids', 'a').write(f'{os.getpid()}\\n')\n"
WAIT = "time.sleep(600)"
STAND_INS = {
    "slow": "time.sleep(0.3); open('slow.ready', 'w').close();" + WAIT,
    "plain": "print('hello from plain', flush=True);" + WAIT,
    "last": "def end(*_):\n print('last ends', flush=True); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end); print('last is up', flush=True);" + WAIT,
    "first": "def end(*_):\n time.sleep(0.3); print('first ends', flush=True); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end); print('first is up', flush=True);" + WAIT,
    "stubborn": "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('stubborn is up', flush=True);" + WAIT,
    "parent": "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "open('child.pids', 'a').write(f'{child.pid}\\n');" + WAIT,
    "crashing": "sys.exit(3)",
    "unready": "sys.exit(4)",
    "never": WAIT,
}


def program(name: str) -> Program:
    """The stand-in of that name."""
    code = NOTE.replace("{name}", name) + STAND_INS[name]

    ready = Path(f"{name}.ready").exists

    async def healthy() -> bool:
        return ready()

    waits = name in ("slow", "unready", "never")
    command = [sys.executable, "-c", code]
    return Program(name, command, dict(os.environ), healthy if waits else None, ends_last=name == "last")


async def main(names: list[str]) -> int:
    """Start the stand-ins in order, then wait for a signal."""
    console = Console(sys.stdout)
    start, stop = (float(os.environ.get(f"YARD_{name}", "20")) for name in ("START", "STOP"))
    patience = Patience(start=start, stop=stop, first_pause=0.05, restarts=3)
    supervisor = Supervisor(console.log, console.say, patience)

    async def body() -> int:
        for name in names:
            await supervisor.start(program(name))
            console.say(f"started {name}")
        console.say("all started")
        await asyncio.Event().wait()
        return 0

    return await supervisor.run(body)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    sys.exit(asyncio.run(main(sys.argv[2:])))
