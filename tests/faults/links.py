"""The links between the parts of a stack, each through a proxy of ours that can break it."""

from collections.abc import Callable
from enum import StrEnum

from acked_common.accounts.grants import Account
from acked_common.accounts.hand_out import amqp_secret, mongo_secret
from deploy.native import environment
from deploy.native.stack import Stack
from support.loop_thread import LoopThread
from support.tcp_proxy import Proxy


class Link(StrEnum):
    """Who talks to whom."""

    INTAKE_MONGODB = "intake to MongoDB"
    INTAKE_RABBITMQ = "intake to RabbitMQ"
    GATEWAY_MONGODB = "gateway to MongoDB"
    GATEWAY_RABBITMQ = "gateway to RabbitMQ"
    WORKER_MONGODB = "worker to MongoDB"
    WORKER_RABBITMQ = "worker to RabbitMQ"
    WORKER_GATEWAY = "worker to gateway"

    @property
    def role(self) -> str:
        """The service that connects."""
        return self.value.split()[0]


class Break(StrEnum):
    """What a link can suffer; all but `HALF_CLOSE` and `CUT` last until it is healed."""

    CUT = "cut"
    REFUSE = "refuse"
    HOLD = "hold"
    DELAY = "delay"
    HALF_CLOSE = "half close"


DELAY_S = 0.2


class Links:
    """A proxy for each link; the services learn of them by their environment, so make them before the stack is up."""

    def __init__(self, outside: LoopThread, stack: Stack) -> None:
        self._outside = outside
        ports = stack.layout.ports
        targets = {"MongoDB": ports.mongod, "RabbitMQ": ports.amqp, "gateway": ports.gateway}
        self._proxies = {link: Proxy("127.0.0.1", targets[link.split()[-1]]) for link in Link}
        self._outside.run(self._start())
        secrets = stack.layout.secrets
        told: dict[str, dict[str, str]] = {}
        for link, proxy in self._proxies.items():
            variables = told.setdefault(link.role, {})
            match link.split()[-1]:
                case "MongoDB":
                    # The proxy is no member of the replica set: the driver must not look for the others.
                    variables["ACKED_MONGO_URL"] = (
                        f"mongodb://{link.role}@127.0.0.1:{proxy.port}/?directConnection=true&authSource=acked"
                    )
                    variables["ACKED_MONGO_PASSWORD_FILE"] = str(secrets / mongo_secret(Account(link.role)))
                case "RabbitMQ":
                    variables["ACKED_AMQP_URL"] = f"amqp://{link.role}@127.0.0.1:{proxy.port}/"
                    variables["ACKED_AMQP_PASSWORD_FILE"] = str(secrets / amqp_secret(Account(link.role)))
                case _:
                    variables["ACKED_GATEWAY_URL"] = f"ws://127.0.0.1:{proxy.port}"
        for role, variables in told.items():
            environment.keep_for(stack.layout, role, variables)

    def rewrite(self, link: Link, rewriter: Callable[[], Callable[[bytes], bytes]]) -> None:
        """What is sent over connections that are made from now on goes through what this makes, until healed."""
        self._proxies[link].rewriter = rewriter

    def inflict(self, link: str, what: Break) -> None:
        """Breaks a link."""
        proxy = self._proxies[Link(link)]

        async def act() -> None:
            match what:
                case Break.CUT:
                    proxy.cut()
                case Break.REFUSE:
                    proxy.refuse()
                case Break.HOLD:
                    proxy.hold()
                case Break.DELAY:
                    proxy.delay(DELAY_S)
                case Break.HALF_CLOSE:
                    proxy.half_close()

        self._outside.run(act())

    def heal(self) -> None:
        """Mends all links."""

        async def act() -> None:
            for proxy in self._proxies.values():
                proxy.heal()
                proxy.rewriter = None

        self._outside.run(act())

    def close(self) -> None:
        """Closes all proxies."""

        async def act() -> None:
            for proxy in self._proxies.values():
                proxy.heal()
                await proxy.close()

        self._outside.run(act())

    async def _start(self) -> None:
        for proxy in self._proxies.values():
            await proxy.start()
