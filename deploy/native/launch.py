"""Become one part of a stack: `python -m deploy.native.launch <part>`. The supervisor runs it.

The program replaces this process, so that the supervisor's signals reach it directly.
"""

import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from deploy.native import rolling
from deploy.native.environment import kept, kept_for
from deploy.native.layout import ROOT, Layout, has_data_without_accounts, layout_from
from deploy.native.packages import Servers
from deploy.native.secret import secret

if TYPE_CHECKING:
    from acked_common.accounts.grants import Account

# Accounts need the drivers of both servers; the start of a server does not wait for their import.
SERVICE_MODULES = {"gateway": "acked_gateway", "intake": "acked_intake", "worker": "acked_worker"}
NODE_NAME = "acked@localhost"
MONGOD_HISTORY_S = 5
"""How long MongoDB retains old snapshots; longer than any read of Acked. compose.yaml sets it too."""
MONGO_KEY_FILE = "mongo-key"
OWNER_SECRET = "amqp"  # noqa: S105 - the name of a file
"""The password of the stack's owner on RabbitMQ."""


def database_of(environ: Mapping[str, str]) -> str:
    """Return the name of the database, which also has the accounts of the services."""
    return environ.get("ACKED_DATABASE", "").strip() or "acked"


def _own_servers(layout: Layout, environ: Mapping[str, str], account: "Account") -> dict[str, str]:
    """Return the URLs of the private servers and one account's password files; nothing for servers elsewhere."""
    from acked_common.accounts.hand_out import amqp_secret, mongo_secret

    found: dict[str, str] = {}
    if layout.own_mongod:
        secret(layout.secrets / mongo_secret(account))
        found |= {
            "ACKED_MONGO_URL": f"mongodb://{account}@127.0.0.1:{layout.ports.mongod}/"
            f"?replicaSet=acked&authSource={quote(database_of(environ), safe='')}",
            "ACKED_MONGO_PASSWORD": "",
            "ACKED_MONGO_PASSWORD_FILE": str(layout.secrets / mongo_secret(account)),
        }
    if layout.own_rabbitmq:
        secret(layout.secrets / amqp_secret(account))
        found |= {
            "ACKED_AMQP_URL": f"amqp://{account}@127.0.0.1:{layout.ports.amqp}/",
            "ACKED_AMQP_PASSWORD": "",
            "ACKED_AMQP_PASSWORD_FILE": str(layout.secrets / amqp_secret(account)),
        }
    return found


def owner_urls(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the URLs of the servers for the stack's owner, with every right; other servers as the user names them."""
    from acked_common.accounts.hand_out import MONGO_ADMIN
    from acked_common.accounts.mongo_accounts import ADMINISTRATOR
    from acked_common.accounts.rabbit_definitions import OWNER

    mongo, amqp = environ.get("ACKED_MONGO_URL", ""), environ.get("ACKED_AMQP_URL", "")
    if layout.own_mongod:
        user = f"{ADMINISTRATOR}:{secret(layout.secrets / MONGO_ADMIN)}"
        mongo = f"mongodb://{user}@127.0.0.1:{layout.ports.mongod}/?replicaSet=acked&authSource=admin"
    if layout.own_rabbitmq:
        amqp = f"amqp://{OWNER}:{secret(layout.secrets / OWNER_SECRET)}@127.0.0.1:{layout.ports.amqp}/"
    return {"mongo": mongo, "amqp": amqp}


def service_environment(layout: Layout, environ: Mapping[str, str], account: "Account") -> dict[str, str]:
    """Return the environment of a service that has this account on the private servers.

    The user's settings win, except for the private servers and the ports, which derive from the base.
    """
    ports = layout.ports
    secret(layout.secrets / "worker")
    forced = {
        "ACKED_GATEWAY_PORT": str(ports.gateway),
        "ACKED_INTAKE_PORT": str(ports.intake),
        "ACKED_INTAKE_URL": f"http://127.0.0.1:{ports.intake}",
        **_own_servers(layout, environ, account),
    }
    ours = {
        "ACKED_WORKER_SECRET_FILE": str(layout.secrets / "worker"),
        "ACKED_HANDLERS_DIR": str(ROOT / "handlers"),
        "ACKED_RUN_DIR": str(layout.run),
    }
    return {**environ, **{name: value for name, value in ours.items() if not environ.get(name)}, **forced}


def command_of(program: str, layout: Layout, environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment of a program of the supervisor."""
    part = rolling.part_of(program)
    role = part.split("-", 1)[0]
    if role in SERVICE_MODULES:
        from acked_common.accounts.grants import Account

        environment = service_environment(layout, environ, Account(role))
        if role == "worker":
            environment["ACKED_WORKER_NAME"] = part
            environment["ACKED_RUN_DIR"] = str(layout.run_of(program))
        else:
            environment["ACKED_RUN_FILE"] = str(layout.run_of(program) / f"{part}.json")
        # A process that sets its title would wipe its environment out of /proc, and with it the mark of its stack.
        environment["SPT_NOENV"] = "1"
        return [str(layout.venv_python), "-m", SERVICE_MODULES[role]], environment
    servers = Servers(layout.servers)
    if role == "mongod":
        return _mongod(layout, servers)
    if role == "epmd":
        return _epmd(layout, servers)
    if role == "rabbitmq":
        return _rabbitmq(layout, servers)
    raise SystemExit(f"unknown part {part!r}")


def _libraries(servers: Servers) -> dict[str, str]:
    path = servers.library_path
    return {"LD_LIBRARY_PATH": path} if path else {}


TRANSITION = "--transitionToAuth"
"""For the first start over data without accounts. Its replica set may have to move to another port before an account
can be made; without this option mongod lets a client make the first account, but not move the set."""


def _mongod(layout: Layout, servers: Servers) -> tuple[list[str], dict[str, str]]:
    layout.mongo_data.mkdir(parents=True, exist_ok=True)
    key = layout.secrets / MONGO_KEY_FILE
    secret(key)
    command = [
        str(servers.mongod),
        *("--dbpath", str(layout.mongo_data)),
        *("--port", str(layout.ports.mongod)),
        *("--bind_ip", "127.0.0.1"),
        *("--replSet", "acked"),
        *("--wiredTigerCacheSizeGB", "1"),
        *("--oplogSize", "1024"),
        "--nounixsocket",
        "--noscripting",
        *(("--keyFile", str(key)) if layout.accounts_mark.exists() else ()),
        *((TRANSITION,) if layout.accounts_mark.exists() and has_data_without_accounts(layout) else ()),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        # Sweepers skip index entries of jobs that have left for this long (else 5 min).
        *("--setParameter", f"minSnapshotHistoryWindowInSeconds={MONGOD_HISTORY_S}"),
        "--quiet",
    ]
    return command, {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(layout.state), **_libraries(servers)}


def _erlang_environment(layout: Layout, servers: Servers) -> dict[str, str]:
    return {
        "PATH": f"{servers.erlang}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(layout.rabbit_home),
        "LANG": "C.UTF-8",
        "ACKED_ERLANG_ROOT": str(servers.erlang),
        "ERL_EPMD_PORT": str(layout.ports.epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",
        **_libraries(servers),
    }


def _epmd(layout: Layout, servers: Servers) -> tuple[list[str], dict[str, str]]:
    return [str(servers.erlang / "bin" / "epmd"), "-port", str(layout.ports.epmd)], _erlang_environment(layout, servers)


def _rabbitmq(layout: Layout, servers: Servers) -> tuple[list[str], dict[str, str]]:
    home, conf = layout.rabbit_home, layout.conf
    home.mkdir(parents=True, exist_ok=True)
    conf.mkdir(parents=True, exist_ok=True)
    secret(home / ".erlang.cookie", mode=0o400)
    _write(
        conf / "rabbitmq.conf",
        f"listeners.tcp.1 = 127.0.0.1:{layout.ports.amqp}\n"
        f"load_definitions = {write_definitions(layout)}\n"
        "log.console = true\nlog.console.level = warning\nlog.file = false\n",
    )
    _write(conf / "enabled_plugins", "[].\n")
    _write(conf / "rabbitmq-env.conf", "")
    return [str(servers.rabbitmq_server)], {
        **_erlang_environment(layout, servers),
        # Makes the start script become the node instead of waiting for it.
        "NOTIFY_SOCKET": "/dev/null",
        # Relative to the working folder: the scripts would stumble over a space in the whole path.
        "RABBITMQ_SCRIPTS_DIR": str(servers.rabbitmq_server.parent.relative_to(servers.debian)),
        "RABBITMQ_CONF_ENV_FILE": str(conf / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(conf / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(conf / "enabled_plugins"),
        "RABBITMQ_NODENAME": NODE_NAME,
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(layout.logs),
        "RABBITMQ_PID_FILE": str(layout.run / "rabbitmq.pid"),
        "RABBITMQ_DIST_PORT": str(layout.ports.erlang),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(
            (
                "-kernel inet_dist_use_interface {127,0,0,1}",
                # On SIGINT the node would suspend and wait for a key.
                "+Bi",
                # Else these end it: SIGUSR1 with a crash dump, SIGUSR2 at once.
                "-eval os:set_signal(sigusr1,ignore),os:set_signal(sigusr2,ignore)",
            )
        ),
    }


def write_definitions(layout: Layout) -> Path:
    """Write the accounts of RabbitMQ to a file that it loads at each start; return its path."""
    from acked_common.accounts.grants import Account
    from acked_common.accounts.hand_out import amqp_secret
    from acked_common.accounts.rabbit_definitions import definitions

    file = layout.conf / "definitions.json"
    passwords = {account: secret(layout.secrets / amqp_secret(account)) for account in Account}
    _write(file, definitions(passwords, secret(layout.secrets / OWNER_SECRET)))
    return file


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=True)
    path.write_text(text)


def main() -> None:
    """Replace this process with the part. Never return."""
    program = sys.argv[1]
    part = rolling.part_of(program)
    layout = layout_from()
    environ = {**(kept(layout) or os.environ), **kept_for(layout, part)}
    command, environment = command_of(program, layout_from(environ), environ)
    # Lets `up` and `down` distinguish the processes of this stack from all others.
    environment["ACKED_STACK"] = str(layout.state)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    layout.run.mkdir(parents=True, exist_ok=True)
    if part == "epmd":
        # It knows none of them, and each would end it.
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
    if part == "rabbitmq":
        os.chdir(Servers(layout.servers).debian)
    os.execve(command[0], command, environment)  # noqa: S606 - the command is ours


if __name__ == "__main__":
    main()
