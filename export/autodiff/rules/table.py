"""The table of operators in docs/gradients.md, made from the rules.

``python -m ortist.export.autodiff.rules.table docs/gradients.md`` writes it anew between its marks.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from ortist.export.autodiff import branches
from ortist.export.autodiff.backward import Rule
from ortist.export.autodiff.rules import RULES, elementwise

BEGIN, END = "<!-- operators -->\n", "<!-- end of operators -->"
_NOT_BY_BODY = frozenset({"Bernoulli", "LinearAttention", "SequenceMap"})
"""Whose bodies depend on their inputs by comparisons only, or are loops."""

_HELD = frozenset({("RoiAlign", "rois")})
"""Inputs whose rule says that they must be held."""


def table() -> str:
    """Return the table of rules, and the operators that their ONNX bodies serve, in Markdown."""
    lines = ["| operator | inputs with a derivative | formula |", "|---|---|---|"]
    for op_type in sorted(RULES, key=str.lower):
        schema = _schema(op_type)
        if schema is None or branches.loop in RULES[op_type]:
            continue
        cells = op_type, ", ".join(f"`{name}`" for name in _inputs(schema)), _formula(schema)
        lines.append(f"| {' | '.join(cells)} |")
    bodies = ", ".join(sorted(_with_bodies(), key=str.lower))
    return "\n".join([*lines, "", f"By the bodies that ONNX has for them: {bodies}.", ""])


def rewritten(page: str) -> str:
    """Return a page with its table as the rules are now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _schema(op_type: str) -> Any:
    """Return what ONNX says of an operator, None for one of our own."""
    return onnx.defs.get_schema(op_type) if onnx.defs.has(op_type) else None


def _inputs(schema: Any) -> dict[str, Rule]:
    """Return the inputs with a derivative, but those where it is always 0, and their rules."""
    rules = RULES[schema.name]
    if schema.name == "If":
        return dict.fromkeys(["..., read by the branches"], branches.choose)
    found: dict[str, Rule] = {}
    for index, value in enumerate(schema.inputs):
        rule = None if (schema.name, value.name) in _HELD else rules[min(index, len(rules) - 1)]
        if rule is not None and not set(value.types) <= {"tensor(int32)", "tensor(int64)"}:
            variadic = value.option == onnx.defs.OpSchema.FormalParameterOption.Variadic
            found[f"{value.name}, ..." if variadic else value.name] = rule
    some = {name: rule for name, rule in found.items() if rule is not elementwise.nothing}
    return some or found


def _formula(schema: Any) -> str:
    """Return the formulas of an operator, by input where they differ."""
    op_type, inputs = schema.name, _inputs(schema)
    if op_type in elementwise.UNARY:
        return _ELEMENTWISE["UNARY", op_type][0]
    if op_type in elementwise.BINARY:
        known = _ELEMENTWISE["BINARY", op_type]
        texts = [known[min(i, len(known) - 1)] for i in range(len(inputs))]
    else:
        texts = [_first_line(rule) for rule in inputs.values()]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"`{name}`: {text}" for name, text in zip(inputs, texts, strict=True))


def _first_line(function: Callable[..., Any]) -> str:
    line = (inspect.getdoc(function) or "").partition("\n")[0].removesuffix(".")
    for special in ("\\", "|", "*", "<"):
        line = line.replace(special, f"\\{special}")
    return line


def _elementwise() -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Return table and operator, and the formulas in it, of the tables of elementwise formulas."""
    for statement in ast.parse(inspect.getsource(elementwise)).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            for key, value in zip(statement.value.keys, statement.value.values, strict=True):
                lambdas = [node for node in ast.walk(value) if isinstance(node, ast.Lambda)]
                if key is not None:
                    yield (
                        (ast.unparse(statement.target), ast.literal_eval(key)),
                        [_of(node.body) for node in lambdas],
                    )


def _of(formula: ast.expr) -> str:
    """Return a formula of the code, by functions only; for those that call a slope, its doc."""
    names = [node.id for node in ast.walk(formula) if isinstance(node, ast.Name)]
    slopes = [_first_line(getattr(elementwise, name)) for name in names if "_slope" in name]
    if slopes:
        return "g times the slope of " + ", or of ".join(reversed(slopes))
    return f"`{ast.unparse(_Functions().visit(formula))}`".replace("|", "\\|")


class _Functions(ast.NodeTransformer):
    """Writes methods of values as functions of them."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(attr="constant"):
                return node.args[0]
            case ast.Attribute(value=value, attr="op"):
                name = str(ast.literal_eval(node.args[0])).lower()
                return ast.Call(ast.Name(name), [value], [])
            case ast.Attribute(value=value, attr=name):
                return ast.Call(ast.Name(name), [value, *node.args], [])
            case ast.Name(id=name):
                return ast.Call(ast.Name(name.removeprefix("_")), node.args, [])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        is_module = isinstance(node.value, ast.Name) and node.value.id == "math"
        return ast.Name(node.attr) if is_module else node


_ELEMENTWISE = dict(_elementwise())


def _with_bodies() -> Iterator[str]:
    schemas: Sequence[Any] = onnx.defs.get_all_schemas()
    for schema in schemas:
        has_body = schema.has_function or schema.has_context_dependent_function
        if schema.domain or not has_body or schema.name in RULES or schema.name in _NOT_BY_BODY:
            continue
        if all(
            any("float" in kind for value in values for kind in value.types)
            for values in (schema.inputs, schema.outputs)
        ):
            yield schema.name


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(rewritten(Path(name).read_text("utf-8")), "utf-8")
