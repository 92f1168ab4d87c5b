# Recipes of Acked. Run them with ./just, which needs nothing but Python 3.11 and apt-get; an installed just works too.

set positional-arguments := true

# Each Python program starts with SIGINT ignored, until `deploy.console` takes it: Python itself would print a traceback.
python := justfile_directory() / ".venv/bin/python"
bin := justfile_directory() / ".venv/bin"

# List the recipes
[private]
default:
    @"{{ just_executable() }}" --justfile "{{ justfile() }}" --list --unsorted

# Make .venv unless ./just has done so already
[private]
[no-exit-message]
prepare:
    @if [ -z "${JUST_PREPARED:-}" ]; then "{{ justfile_directory() }}/just" --prepare; fi

# Start everything, wait until it is ready, print the URLs
[no-exit-message]
up: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime up

# Stop everything; jobs stay
[no-exit-message]
down: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime down

# Change the number of processes: scale 4, scale worker=4 intake=2
[no-exit-message]
scale *wanted: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime scale "$@"

# Rolling restart of the services, without refusing a request: restart, restart worker
[no-exit-message]
restart *services: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime restart "$@"

# Send N requests at once and follow their jobs to the end
[no-exit-message]
load-test *n: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime load-test "$@"

# Make, list and revoke tokens: token make --client billing --may submit,read; token list; token revoke <id>
[no-exit-message]
token *words: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime token "$@"

# Show or change the stored settings: settings ACKED_ACCESS=tokens; settings ACKED_ACCESS= resets it
[no-exit-message]
settings *changes: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime settings "$@"

# Show which processes run, and whether they are ready
[no-exit-message]
status: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime status

# Show the last lines of the logs: logs, logs worker, logs intake-1 -n 200, logs -f
[no-exit-message]
logs *service: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.runtime logs "$@"

# Install and start a Docker engine with Compose on Debian 12; needs root
[no-exit-message]
engine:
    @deploy/engine/start

# Install Chromium for the tests of the pages, from Debian's packages; needs root
[no-exit-message]
browser:
    @deploy/browser/install

# Unpack Prometheus and promtool for the tests of metrics and alerts, from Debian's package; needs no root
[no-exit-message]
promtool:
    @deploy/prometheus/install

# Build stand-ins for the public images, where no container registry is reachable; needs root once
[no-exit-message]
images-airgap:
    @deploy/airgap/build

# Run the tests: test, test unit, test integration -k publisher; test pythons, test coverage, test full
[no-exit-message]
test *what: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.testing "$@"

# Mix faults at random over a stack of its own under load: soak --minutes 60 --seed 7, soak --kills 100
[no-exit-message]
soak *options: prepare
    @trap '' INT; PYTHONPATH="{{ justfile_directory() }}/tests:{{ justfile_directory() }}" exec "{{ python }}" -m deploy.console faults.soak "$@"

# Benchmark Acked, Celery, Dramatiq, Taskiq and DBOS: bench, bench --quick, bench --only accept drain, bench --write docs/benchmarks.md
[no-exit-message]
bench *options: prepare
    @trap '' INT; PYTHONPATH="{{ justfile_directory() }}/tests:{{ justfile_directory() }}" exec "{{ python }}" -m deploy.console benchmarks "$@"

# Take the pictures of docs/images from a stack of its own; needs ./just browser
[no-exit-message]
screenshots: prepare
    @trap '' INT; PYTHONPATH="{{ justfile_directory() }}/tests:{{ justfile_directory() }}" exec "{{ python }}" -m deploy.console support.screenshots

# Run mutation tests in a copy and print which test catches each mutant: mutants, mutants --list, mutants -k leases
[no-exit-message]
mutants *which: prepare
    @trap '' INT; PYTHONPATH="{{ justfile_directory() }}/tests:{{ justfile_directory() }}" exec "{{ python }}" -m deploy.console mutants "$@"

# Format, lint, types, lock: everything that needs no server
[no-exit-message]
check: prepare
    "{{ bin }}/ruff" format --check .
    "{{ bin }}/ruff" check .
    @trap '' INT; exec "{{ python }}" -m deploy.console mypy
    @trap '' INT; exec "{{ python }}" -m deploy.lock --check

# Format the code and fix what can be fixed
[no-exit-message]
fmt: prepare
    "{{ bin }}/ruff" format .
    "{{ bin }}/ruff" check --fix .

# Pin the newest versions that the pyproject files allow
[no-exit-message]
lock: prepare
    @trap '' INT; exec "{{ python }}" -m deploy.lock --upgrade

# Stop everything, remove caches and fetched servers; data and settings are kept
[no-exit-message]
clean: down
    rm -rf .acked/servers .acked/prometheus .acked/bootstrap .acked/pythons .acked/bench/peers .acked/bench/tools .mypy_cache .ruff_cache .pytest_cache .hypothesis
    find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
    @echo "caches and fetched servers are gone; data and settings in .acked/native are kept"
