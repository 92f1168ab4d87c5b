"""Access tokens of a native stack: the recipes' own, and the command that makes, lists and revokes tokens."""

from collections.abc import Sequence

from deploy import console
from deploy.native.failure import StackError
from deploy.native.layout import ROOT
from deploy.native.plan import Plan
from deploy.operator_token import ACCESS, MAKE, OperatorToken


def operator_token(plan: Plan) -> OperatorToken:
    """Return the recipes' own token. Making it raises `StackError`."""

    def make() -> str:
        done = plan.run_module(ACCESS, *MAKE)
        if done.returncode != 0:
            raise StackError(f"creating a token failed: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    return OperatorToken(plan.layout.secrets / "operator-token", make)


def run_token_command(plan: Plan, words: Sequence[str]) -> int:
    """Make, list or revoke tokens, with the output on this terminal; return the exit code."""
    return console.start_module(ACCESS, *words, env=plan.init_environ, cwd=ROOT).wait()
