"""Find the kinds that a worker serves: modules named by a setting, and the files of `./handlers/`."""

import importlib
import importlib.util
import pkgutil
import sys
import tokenize
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from acked import DefinitionError, Kind, registry
from acked.definition import with_payload_type
from acked.payloads import UntypedPayload
from acked_common.model.payload_schemas import MAX_SCHEMA_BYTES
from acked_common.runtime.logs import get_log
from acked_worker.handlers.park_hazards import park_hazards
from acked_worker.handlers.registration import is_left_to_workers

log = get_log(__name__)

MAX_SCANNED_BYTES = 1024 * 1024
"""Longer files are not searched for code that runs at each park."""
NO_KIND = "this file of handlers defines no kind; add @handler, or start its name with _ if other files import it"

NOT_CHECKED = "payloads are not checked, and the handler gets decoded JSON: the annotation of its payload can't be used"

CHECKED_LATE = (
    "intake does not check payloads of this kind, the worker does when a job starts: their type has no JSON Schema, or "
    "one that is too large"
)


class HandlersError(Exception):
    """Handlers can't be loaded; the message names the place and the remedy. A worker does not start with it."""


def load_kinds(
    modules: Sequence[str], handlers_dir: Path | None = None, on_import: Callable[[str], object] = lambda name: None
) -> dict[str, Kind]:
    """Return the kinds by name: import the modules (of a package, all its modules), then each `*.py` of the folder.

    Files are imported in name order; those that start with `_` are left to imports by others. The folder is appended to
    `sys.path`, so that its files can import each other. A missing folder has no handlers. `on_import` gets the name of
    each
    module before its import. Code that runs at each park is logged as a warning. Raise `HandlersError`.
    """
    for name in modules:
        _import_named(name, on_import)
    if handlers_dir is not None:
        _import_folder(handlers_dir.absolute(), on_import)
    kinds = {name: _with_payload_type(kind) for name, kind in registry.snapshot().items()}
    for file in _sources(kinds.values(), handlers_dir):
        _warn_of_hazards(file)
    return kinds


def _with_payload_type(kind: Kind) -> Kind:
    """Return the kind with what its handler takes. Only now are all types defined that an annotation may name."""
    try:
        typed = with_payload_type(kind)
    except UntypedPayload as error:
        log.warning(NOT_CHECKED, kind=kind.name, at=kind.place, reason=str(error))
        return kind
    if is_left_to_workers(typed):
        log.warning(CHECKED_LATE, kind=kind.name, at=kind.place, schema_bytes=MAX_SCHEMA_BYTES)
    return typed


def _sources(kinds: Iterable[Kind], handlers_dir: Path | None) -> list[Path]:
    """Return the files that define kinds, and all others of the folder, which handlers may import."""
    modules = (sys.modules.get(kind.module) for kind in kinds)
    files = {Path(file).absolute() for module in modules if (file := getattr(module, "__file__", None))}
    if handlers_dir is not None and handlers_dir.is_dir():
        files |= {file for file in handlers_dir.absolute().glob("*.py") if file.is_file()}
    return sorted(files)


def _warn_of_hazards(file: Path) -> None:
    try:
        if file.stat().st_size > MAX_SCANNED_BYTES:
            return
        with tokenize.open(file) as source:
            found = park_hazards(source.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        # No Python source, such as a compiled module: its import has succeeded, or has told why not.
        return
    except SystemError:
        # CPython before 3.11.5 may lose count of its recursion (python/cpython#106905). The scan only advises.
        return
    for hazard in found:
        log.warning(hazard.text, file=f"{file}:{hazard.line}")


def _import_named(name: str, on_import: Callable[[str], object]) -> None:
    on_import(name)
    module = _guarded(name, lambda: _import_existing(name), file=None)
    for part in _parts(module):
        on_import(part)
        _guarded(part, lambda part=part: importlib.import_module(part), file=None)  # type: ignore[misc]


def _import_existing(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise HandlersError(
                f"the handler module {name!r} was not found; check its spelling, that it is installed in the "
                "worker's environment, or that its folder is on PYTHONPATH"
            ) from None
        raise


def _parts(module: ModuleType) -> Iterator[str]:
    """Yield the modules of a package in name order; nothing for a plain module."""
    for part in sorted(pkgutil.iter_modules(getattr(module, "__path__", ())), key=lambda part: part.name):
        if not part.name.startswith("_"):
            yield f"{module.__name__}.{part.name}"


def _import_folder(folder: Path, on_import: Callable[[str], object]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise HandlersError(f"{folder} is a file; handlers are read from a folder")
    if str(folder) not in sys.path:
        # Appended: a file in it must not shadow a module of the standard library.
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    for file in sorted(folder.glob("*.py")):
        if file.is_file() and not file.name.startswith("_"):
            on_import(file.stem)
            before = registry.snapshot()
            _import_file(file)
            # A file that an earlier file imported has registered its kinds then.
            if registry.snapshot() == before and not any(kind.module == file.stem for kind in before.values()):
                log.warning(NO_KIND, file=str(file))


def _import_file(file: Path) -> None:
    name = file.stem
    if not name.isidentifier():
        raise HandlersError(
            f"{file}: a handler file's name must be a Python name, such as {_suggest(name)}.py; rename it"
        )
    other = _other_owner(name, file)
    if other is not None:
        raise HandlersError(f"{file}: the module name {name!r} belongs to {other}; rename the file")
    _guarded(name, lambda: importlib.import_module(name), file=file)


def _other_owner(name: str, file: Path) -> str | None:
    """Return what else has this module name; None if an import resolves to the file."""
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None) if loaded is not None else importlib.util.find_spec(name)
    origin = spec.origin if spec is not None else None
    if origin is not None and Path(origin).exists() and Path(origin).samefile(file):
        return None
    return origin or "another module"


def _guarded(name: str, load: Callable[[], ModuleType], file: Path | None) -> ModuleType:
    """Load a module; if it fails, unregister its kinds."""
    before = registry.snapshot()
    try:
        return load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        registry.restore(before)
        if isinstance(error, HandlersError):
            raise
        if isinstance(error, DefinitionError):
            raise HandlersError(str(error)) from error
        raise HandlersError(_explain(name, error, file)) from error


def _explain(name: str, error: BaseException, file: Path | None) -> str:
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: the file can't be read as Python: {error.msg}; correct it"
    place = _place(error, file) or f"module {name!r}"
    if isinstance(error, ModuleNotFoundError):
        return f"{place}: {what}; install it in the worker's environment, or correct the import"
    if isinstance(error, SystemExit):
        return f"{place}: the file ends the process while it is imported ({what}); remove that from the handler file"
    return f"{place}: the import failed with {what}; correct it, or start the file's name with _ to leave it out"


def _place(error: BaseException, file: Path | None) -> str | None:
    """Return `file:line` of the newest frame in the file, or of the newest one outside the import machinery."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    inside = [frame for frame in frames if file is not None and frame.filename == str(file)]
    newest = (inside or frames)[-1:]
    if newest:
        return f"{newest[0].filename}:{newest[0].lineno}"
    return str(file) if file is not None else None


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


def _suggest(name: str) -> str:
    suggested = "".join(char if char.isalnum() or char == "_" else "_" for char in name)
    return suggested if suggested.isidentifier() else f"handlers_{suggested}"
