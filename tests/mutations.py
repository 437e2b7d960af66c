"""Every place of a module where its arithmetic, comparisons, signs, numbers, bounds or statements could be wrong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip
#: Every comparison's neighbour and its opposite.
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
EXTREMES = {"min": "max", "minimum": "maximum", "argmin": "argmax", "amin": "amax", "floor": "ceil", "all": "any"}
EXTREMES |= {other: name for name, other in EXTREMES.items()}
#: Keywords whose values say how, not what.
SETTINGS = {"dtype", "strict", "kind", "order", "inplace", "copy", "assume_unique", "sort_labels", "encoding", "timeout"}

Change = tuple[str, ast.AST]  # kind and what stands there instead


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of one module: what stands at ``field`` (and ``index``) of ``parent`` becomes ``instead``."""

    line: int
    text: str
    kind: str
    change: str
    tree: ast.Module
    parent: ast.AST
    field: str
    index: int | None
    instead: ast.AST

    def compiled(self, path: str) -> CodeType:
        """The changed module, as from a file; spoils the shared tree, so only in a process of its own."""
        if self.index is None:
            setattr(self.parent, self.field, self.instead)
        else:
            getattr(self.parent, self.field)[self.index] = self.instead
        return compile(ast.fix_missing_locations(self.tree), path, "exec")


def changes(node: ast.AST, field: str) -> Iterator[Change]:
    """What a node may become that stands at a field of its parent."""
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC and not isinstance(node.left, ast.List):
        yield "arithmetic", ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign):
        if type(node.op) in ARITHMETIC:
            yield "arithmetic", ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
        yield "deletion", ast.Pass()
    elif isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                operators = [*node.ops[:place], other(), *node.ops[place + 1 :]]
                yield "comparison", ast.Compare(node.left, operators, node.comparators)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not, ast.Invert)):
        yield "boolean" if isinstance(node.op, ast.Not) else "sign", node.operand
    elif isinstance(node, ast.BoolOp):
        yield "boolean", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "boolean", ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)):
            yield from (("constant", ast.Constant(node.value + step)) for step in (1, -1))
    elif isinstance(node, ast.Name) and node.id in EXTREMES:
        yield "extreme", ast.Name(EXTREMES[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in EXTREMES:
        yield "extreme", ast.Attribute(node.value, EXTREMES[node.attr], node.ctx)
    elif isinstance(node, ast.Assign | ast.Expr) and _in_place(node):
        yield "deletion", ast.Pass()
    if field == "test" and isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript)):
        yield "boolean", ast.UnaryOp(ast.Not(), node)


def _in_place(node: ast.Assign | ast.Expr) -> bool:
    """Whether a statement changes something that is there: an entry, or what a call does."""
    return isinstance(node.targets[0], ast.Subscript) if isinstance(node, ast.Assign) else isinstance(node.value, ast.Call)


#: Fields and statements that hold no fact: types, decorators, defaults, errors and their messages.
UNSEEN_FIELDS = {"annotation", "returns", "decorator_list", "defaults", "kw_defaults", "bases", "msg", "type_params"}
UNSEEN_NODES = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)


def children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The parts of a node that can be wrong, with field and index."""
    if isinstance(node, ast.keyword) and node.arg in SETTINGS:
        return
    for field, value in ast.iter_fields(node):
        if field in UNSEEN_FIELDS:
            continue
        for index, part in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(part, ast.AST) and not isinstance(part, UNSEEN_NODES) and not _chosen(node, part):
                yield field, index, part


def _chosen(parent: ast.AST, node: ast.AST) -> bool:
    """Whether a statement is a choice and not a fact: a field's default, a module's constant."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return isinstance(parent, ast.ClassDef) or (isinstance(parent, ast.Module) and all(map(_constant, targets)))


def _constant(target: ast.AST) -> bool:
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return all(isinstance(name, ast.Name) and (name.id.strip("_").isupper() or name.id == "__all__") for name in names)


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module's text, in the order of its lines."""
    tree, lines = ast.parse(source), source.splitlines()
    found: list[Mutant] = []

    def visit(parent: ast.AST) -> None:
        for field, index, node in children(parent):
            for kind, instead in changes(node, field):
                line = getattr(node, "lineno", 0)
                change = f"{ast.unparse(node)} → {ast.unparse(instead)}"
                found.append(Mutant(line, lines[line - 1].strip(), kind, change, tree, parent, field, index, instead))
            visit(node)

    visit(tree)
    return sorted(found, key=lambda mutant: mutant.line)
