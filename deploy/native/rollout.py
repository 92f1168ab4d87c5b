"""Replaces the processes of one service; `rolling` has the rule and its reason."""

import time
from collections.abc import Iterable

from deploy.native import rolling
from deploy.native.parts import Parts
from deploy.native.service_parts import ServiceParts, Told


def roll(parts: Parts, services: ServiceParts, role: str, ahead: int, told: Told) -> None:
    """Replace all processes of a service; `ahead` of the new ones are ready before an old one stops.

    `told` gets a line for each part. New processes that do not get ready are removed, and the error is raised.
    """
    present = parts.wanted_programs()
    old = [program for program in present if program.split("-", 1)[0] == role]
    first, second = old[:ahead], old[ahead:]
    fresh = {program: rolling.other_of(program) for program in old}
    supervisor = parts.supervisor
    supervisor.write_configuration([*present, *fresh.values()])
    supervisor.read_configuration()
    started = time.monotonic()
    try:
        for program in first:
            _begin(parts, fresh[program])
        _wait(services, [fresh[program] for program in first], started, told)
    except BaseException:
        for _ in supervisor.removed([new for new in fresh.values() if new in supervisor.programs()]):
            pass
        raise
    started = time.monotonic()
    for program in supervisor.removed(old):
        told(f"{rolling.part_of(program)}: old process exited after {time.monotonic() - started:.1f} s")
        if program in second:
            _begin(parts, fresh[program])
    _wait(services, [fresh[program] for program in second], started, told)
    supervisor.write_configuration(parts.wanted_programs())
    supervisor.read_configuration()


def _begin(parts: Parts, program: str) -> None:
    parts.supervisor.add_program(program)
    parts.supervisor.start_program(program)


def _wait(services: ServiceParts, programs: Iterable[str], started: float, told: Told) -> None:
    for program in programs:
        services.wait_program_ready(program)
        told(f"{rolling.part_of(program)}: new process ready after {time.monotonic() - started:.1f} s")
