"""Triton's interpreter without what it does anew for every call: for a rehearsal, and for the tests of the backend."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Hashable, Iterator
from types import FunctionType, SimpleNamespace
from typing import Any
from unittest.mock import patch

_rewritten: dict[str, Any] = {}  # functions of programs, by their source


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Let the interpreter put its functions into ``triton.language`` once, and meanwhile work out less.

    It does so, and takes them out again, for every call of every function of a program: two fifths of the time. It also
    watches every sum and product of integers for overflow, a third of the rest; no offset of small tensors comes near,
    and ``test_programs`` asks the compiler which of them are computed in 32 bits. For every number it works out anew
    what follows from its type, and for every two how they fit: two fifths of what is then left. It rewrites every
    function of every program, the same ones too, and looks for their ends by a tokenizer in Python, twice.
    """
    tl: Any = importlib.import_module("triton.language")
    interpreter: Any = importlib.import_module("triton.runtime.interpreter")
    builder, semantic = interpreter.interpreter_builder, type(interpreter.interpreter_semantic)
    rewriter = interpreter.FunctionRewriter
    scope = interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    with contextlib.ExitStack() as stack:
        stack.callback(scope.restore)
        for owner, name, value in (
            (builder, "options", dataclasses.replace(builder.options, sanitize_overflow=False)),
            (interpreter, "_patch_lang", lambda function: interpreter._LangPatchScope()),
            (interpreter, "_get_np_dtype", _once_by_name(interpreter._get_np_dtype)),
            (tl.tensor, "__init__", _made_by_name(tl.tensor.__init__)),
            (semantic, "broadcast_impl_value", _operands_once(semantic.broadcast_impl_value)),
            (semantic, "binary_op_type_checking_impl", _operands_once(semantic.binary_op_type_checking_impl)),
            (tl.block_type, "to_ir", lambda type, builder: type),  # it makes another of the same shape and elements
            (tl.block_type, "with_element_ty", _once_by_names(tl.block_type.with_element_ty)),
            (rewriter, "_transform_ast", _in_one_walk),
            (rewriter.ast_transformer, "visit_Assign", _placed(rewriter.ast_transformer.visit_Assign)),
            (rewriter.ast_transformer, "visit_Compare", _placed(rewriter.ast_transformer.visit_Compare)),
            (rewriter, "rewrite_ast", _once_by_source(rewriter.rewrite_ast, vars(interpreter))),
            (inspect, "getblock", functools.partial(_block, inspect.getblock)),
        ):
            stack.enter_context(patch.object(owner, name, value))
        yield


def _block(find: Callable[[list[str]], list[str]], lines: list[str]) -> list[str]:
    """Return the lines of the function that they start with: up to the next function, if only functions follow."""
    heads = [i for i, line in enumerate(lines) if line.strip() and not line.startswith((" ", ")", "@triton.jit"))]
    if not heads or not all(lines[i].startswith("def ") for i in heads):
        return find(lines)
    block = lines[: heads[1]] if len(heads) > 1 else list(lines)
    while not block[-1].startswith(" "):  # a blank line, or what decorates the next function
        block.pop()
    return block


def _once_by_name(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function of a type that is asked once for each; types that are equal have one name."""
    known: dict[str, Any] = {}
    return lambda type: known[type.name] if type.name in known else known.setdefault(type.name, function(type))


def _once_by_names(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a function of two types that is asked once for each two."""
    known: dict[tuple[str, str], Any] = {}

    def once(one: Any, other: Any) -> Any:
        names = one.name, other.name
        return known[names] if names in known else known.setdefault(names, function(one, other))

    return once


def _once_by_source(rewrite: Callable[[Any], Any], names: dict[str, Any]) -> Callable[[Any], Any]:
    """Return what rewrites a function for the interpreter, and for one of the same source takes that one's code.

    Every program brings its own copy of the functions that it calls. A traceback then names the first program that has
    the function, whose lines are the same.
    """

    def rewritten(self: Any) -> Any:
        source = inspect.getsource(self.fn)
        first = _rewritten.get(source)
        if first is None:
            first = _rewritten[source] = rewrite(self)
            return first
        scope = self.fn.__globals__
        for name, value in names.items():  # as rewriting does, for the code calls some of them
            scope.setdefault(name, value)
        again = FunctionType(first.__code__, scope, first.__name__, first.__defaults__)
        again.__annotations__ = first.__annotations__
        return again

    return rewritten


def _in_one_walk(self: Any, source: str) -> ast.AST:
    """Rewrite a function's tree, whose lines are counted from the start, and whose new nodes :func:`_placed` placed.

    Two more walks of the tree did that, and took half of the time of rewriting.
    """
    tree: ast.AST = self.ast_transformer.visit(ast.parse("\n" * (self.def_file_lineno - 1) + source))
    return tree


def _placed(visit: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a visit that says of the nodes it makes where they stand: where the one does that they replace."""

    def visited(node: Any) -> Any:
        new = visit(node)
        if isinstance(new, ast.Assign):  # to_tensor(value, False)
            call: Any = new.value
            for made in (call, call.func, call.func.value, call.args[1]):
                ast.copy_location(made, new)
        elif new is not node:  # a chain of comparisons
            ast.fix_missing_locations(new)
        return new

    return visited


def _made_by_name(make: Callable[[Any, Any, Any], None]) -> Callable[[Any, Any, Any], None]:
    """Return a tensor's ``__init__`` that works out the first of each type, and copies that to the others."""
    known: dict[str, dict[str, Any]] = {}

    def init(self: Any, handle: Any, type: Any) -> None:
        if type.name not in known:
            make(self, handle, type)
            known[type.name] = dict(vars(self))
        vars(self).update(known[type.name], handle=handle, type=type)

    return init


def _operands_once(convert: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes two operands fit each other, asked once for each pair of types, or of a type and a number.

    Tensors that ``convert`` leaves as they are stay so from then on, and a number becomes one tensor. Tensors that it
    casts or broadcasts have new elements each time: it is asked again.
    """
    known: dict[Hashable, tuple[Any, Any]] = {}  # for each operand the tensor of the number, None for itself

    def converted(self: Any, left: Any, right: Any, *rules: bool, **named: bool) -> tuple[Any, Any]:
        key = (_kind(left), _kind(right), rules, *named.items())
        found = known.get(key)
        if found is not None:
            return left if found[0] is None else found[0], right if found[1] is None else found[1]
        made: tuple[Any, Any] = convert(self, left, right, *rules, **named)
        if all(new is old or isinstance(old, (int, float)) for new, old in zip(made, (left, right), strict=True)):
            known[key] = (None if made[0] is left else made[0], None if made[1] is right else made[1])
        return made

    return converted


def _kind(operand: Any) -> str:
    """Return a tensor's type by name, or a number as it is written, which tells 0.0 from -0.0 and 1 from 1.0."""
    return repr(operand) if isinstance(operand, (int, float)) else operand.type.name
