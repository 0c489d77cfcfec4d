"""Refuses what could not be trained here, before it is accepted."""

from dataclasses import replace

from api.deps import Room
from models.limits import check_memory, check_parameters
from models.spec import JobSpec, SpecError


def check_size(spec: JobSpec, room: Room, at: str = "") -> None:
    """Raises SpecError when `spec`, at the pointer `at` of the body, has too many parameters or needs too much memory.

    The memory is that of the workers online; where there is none the job may wait for one.
    """
    try:
        check_parameters(spec, room.settings.max_parameters)
        check_memory(spec, room.reaper.online)
    except SpecError as error:
        raise SpecError([replace(problem, pointer=at + problem.pointer) for problem in error.problems]) from None
