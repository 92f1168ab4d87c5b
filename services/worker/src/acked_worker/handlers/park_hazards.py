"""Find code that runs at each park of a job, from the source of a handler file. Pure: nothing is imported or run.

A park raises `AttemptParked` in the waiting durable call, so it runs each `finally` and each broad `except` around that
call, perhaps many times in the life of a job. That is rarely meant. The search is lexical: it knows the functions of
one file, and the names of their contexts. A comment `# acked: runs at each park` behind `finally:` or `except:` accepts
one place.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

ACCEPTED = re.compile(r"#\s*acked:\s*runs at each park\b", re.IGNORECASE)
IN_FINALLY = (
    "this `finally` runs at each park of the job, not only at its end; make its work a step, or accept it with "
    "`# acked: runs at each park`"
)
IN_EXCEPT = (
    "this `except` catches each park of the job too; catch Exception instead, or accept it with "
    "`# acked: runs at each park`"
)

WAITS = frozenset({"sleep", "wait_for", "first", "gather"})
DURABLE = WAITS | {"step", "now", "note", "began_with", "checkpoint"}
_CONTEXTS = frozenset({"Context", "BlockingContext"})
_BROAD = frozenset({"BaseException", "AttemptParked"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Try = ast.Try | ast.TryStar


@dataclass(frozen=True, slots=True)
class Hazard:
    """One place in a file; `text` says what happens there and what to do."""

    line: int
    text: str


def park_hazards(source: str) -> list[Hazard]:
    """Return the places of a file whose code runs at each park, in order. Raise `SyntaxError` or `ValueError` for a
    text that is no Python."""
    return sorted(_File(source).hazards(), key=lambda hazard: hazard.line)


class _File:
    def __init__(self, source: str) -> None:
        self._tree = ast.parse(source)
        self._lines = source.splitlines()
        self._comments = {
            token.start[0]: token.string
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        self._handler_names = {"handler"} | {
            alias.asname
            for node in ast.walk(self._tree)
            if isinstance(node, ast.ImportFrom) and node.module == "acked"
            for alias in node.names
            if alias.name == "handler" and alias.asname
        }
        self._retried = {
            target.id
            for node in self._tree.body
            if isinstance(node, ast.Assign) and _has_retry(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        """Names of steps whose delays between tries may park."""
        self._contexts: Mapping[_Function, frozenset[str]] = dict(self._with_contexts(self._tree, frozenset()))
        self._waiting: set[str] = set()
        """Names of functions that wait, perhaps through other functions of the file."""
        self._find_waiting()

    def hazards(self) -> Iterator[Hazard]:
        seen: set[_Try] = set()
        for function, contexts in self._contexts.items():
            if not contexts or not self._waits(function.body, contexts):
                continue
            for node in _walk(function.body):
                if isinstance(node, _Try) and node not in seen:
                    seen.add(node)
                    yield from self._of_try(node, contexts)

    def _of_try(self, node: _Try, contexts: frozenset[str]) -> Iterator[Hazard]:
        if self._is_durable(node.body, contexts):
            for clause in node.handlers:
                if _is_broad(clause.type) and not _only_raises(clause.body):
                    yield from self._unless_accepted(clause.lineno, clause.body[0].lineno, IN_EXCEPT)
        if not node.finalbody or not self._waits([*node.body, *node.handlers, *node.orelse], contexts):
            return
        if _has_effect(node.finalbody, contexts):
            first = node.finalbody[0].lineno
            yield from self._unless_accepted(self._line_of_finally(first), first, IN_FINALLY)

    def _unless_accepted(self, line: int, until: int, text: str) -> Iterator[Hazard]:
        if not any(ACCEPTED.search(self._comments.get(number, "")) for number in range(line, until + 1)):
            yield Hazard(line, text)

    def _line_of_finally(self, first: int) -> int:
        """Return the line of the keyword; the tree has only that of the first statement behind it."""
        for number in range(first, 0, -1):
            if re.match(r"\s*finally\b", self._lines[number - 1]):
                return number
        return first

    def _with_contexts(self, node: ast.AST, outer: frozenset[str]) -> Iterator[tuple[_Function, frozenset[str]]]:
        """Yield each function with the names of the contexts that it sees."""
        for child in ast.iter_child_nodes(node):
            names = outer
            if isinstance(child, _Function):
                arguments = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
                names = outer - {argument.arg for argument in arguments}
                names |= {argument.arg for argument in arguments if _is_context(argument.annotation)}
                if arguments and any(self._is_handler(one) for one in child.decorator_list):
                    names |= {arguments[0].arg}
                yield child, names
            yield from self._with_contexts(child, names)

    def _is_handler(self, decorator: ast.expr) -> bool:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        return _last_name(called) in self._handler_names

    def _find_waiting(self) -> None:
        while True:
            found = {one.name for one, contexts in self._contexts.items() if self._waits(one.body, contexts)}
            if found <= self._waiting:
                return
            self._waiting |= found

    def _is_durable(self, body: Iterable[ast.AST], contexts: frozenset[str]) -> bool:
        """Return whether these statements make durable calls, or call functions of the file that wait."""
        return self._waits(body, contexts) or any(_durable_name(call, contexts) for call in _calls(body))

    def _waits(self, body: Iterable[ast.AST], contexts: frozenset[str]) -> bool:
        """Return whether a park may be raised in these statements."""
        for call in _calls(body):
            name = _durable_name(call, contexts)
            if name in WAITS or (name == "step" and call.args and self._may_retry(call.args[0])):
                return True
            passes = any(isinstance(one, ast.Name) and one.id in contexts for one in _arguments(call))
            if name is None and passes and _last_name(call.func) in self._waiting:
                return True
        return False

    def _may_retry(self, step: ast.expr) -> bool:
        return _has_retry(step) or (isinstance(step, ast.Name) and step.id in self._retried)


def _walk(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    for node in body:
        yield from ast.walk(node)


def _calls(body: Iterable[ast.AST]) -> Iterator[ast.Call]:
    return (node for node in _walk(body) if isinstance(node, ast.Call))


def _arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _durable_name(call: ast.Call, contexts: frozenset[str]) -> str | None:
    """Return the name of a durable call, such as `sleep` of `ctx.sleep(…)` or `ctx.deferred.sleep(…)`."""
    node = call.func
    if not isinstance(node, ast.Attribute) or node.attr not in DURABLE:
        return None
    root: ast.expr = node.value
    while isinstance(root, ast.Attribute):
        root = root.value
    return node.attr if isinstance(root, ast.Name) and root.id in contexts else None


def _has_retry(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and any(keyword.arg == "retry" for keyword in node.keywords)


def _is_context(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.rpartition(".")[2].partition("[")[0] in _CONTEXTS
    if isinstance(annotation, ast.Subscript):
        return _is_context(annotation.value)
    return annotation is not None and _last_name(annotation) in _CONTEXTS


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(one) for one in caught.elts)
    return caught is None or _last_name(caught) in _BROAD


def _only_raises(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and isinstance(body[0], ast.Raise) and body[0].exc is None


def _has_effect(body: Iterable[ast.AST], contexts: frozenset[str]) -> bool:
    """Return whether statements do more than set own variables. A durable call has no effect at a park."""
    for node in body:
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call) and _durable_name(node.value, contexts):
            continue
        if isinstance(node, ast.Call):
            if _durable_name(node, contexts) is None:
                return True
            continue
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Yield | ast.YieldFrom):
            return True
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            return True
        if isinstance(node, ast.Return):
            # It discards the park.
            return True
        if not isinstance(node, _Function | ast.Lambda) and _has_effect(ast.iter_child_nodes(node), contexts):
            return True
    return False
