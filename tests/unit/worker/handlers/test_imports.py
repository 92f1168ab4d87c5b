"""What is imported, and since when, is said while it lasts."""

import subprocess
import sys
import threading
from pathlib import Path

from acked_worker.handlers.imports import ImportProgress, load_handlers
from acked_worker.settings import HandlerSources

PROGRAM = """
import sys, threading
from pathlib import Path
from acked_common.runtime.logs import set_up_logs
from acked_worker.handlers import imports
imports.SAID_EVERY_S = 0.05
set_up_logs("test", "info")
progress = imports.ImportProgress()
with imports.logging_imports(progress, every_s=0.05):
    imports.load_kinds([], Path(sys.argv[1]), progress.begin)
print(threading.active_count())
"""


def test_import_is_said_with_module_and_line(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("import time\n\ntime.sleep(1)\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )
    assert '"module": "models"' in done.stderr
    assert f'"at_line": "{tmp_path}/models.py:3"' in done.stderr
    assert done.stdout == "1\n", "the thread that says it has ended: a copy of this process would be whole"


def test_import_progress_says_since_when(tmp_path: Path) -> None:
    progress = ImportProgress()
    progress.begin("models")
    assert progress.text.startswith("imports since 0 s: module 'models' for 0 s")
    assert __file__ in progress.text


def test_load_handlers_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    load_handlers(HandlerSources((), tmp_path))
    assert threading.active_count() == before
