"""Making a failing program small: statements and expressions are dropped while it still fails.

``python -m tests.integration.random_loops_shrink SEED [IDIOMS]`` shows what is wrong with one
program of `random_loops`, at which stage, and a small program that is wrong in the same way.
"""

import ast
import copy
import sys
import tempfile
from pathlib import Path


def shrink(source, fails, *, most=2000):
    """A smaller text for which ``fails(text)`` holds, as it does for ``source``.

    Parameters
    ----------
    fails : takes a text, and says whether it fails in the same way; what can't be run does not.
    most : how many texts are tried.
    """
    tree = ast.parse(source)
    best = ast.unparse(tree)
    if not fails(best):
        return source
    tried = {best}
    smaller = True
    while smaller:
        smaller = False
        for candidate in _edits(tree):
            text = ast.unparse(ast.fix_missing_locations(candidate))
            if text in tried or len(text) > len(best):
                continue
            tried.add(text)
            if len(tried) > most:
                return best + "\n"
            if fails(text):
                tree, best, smaller = ast.parse(text), text, True
                break
    return best + "\n"


def _edits(tree):
    """Copies of ``tree``, each with one change that makes it smaller; the largest come first."""
    places = sorted(_places(tree), key=lambda place: -_size(place[2]))
    for path, replacements, _ in places:
        for replacement in replacements:
            changed = copy.deepcopy(tree)
            _put(changed, path, copy.deepcopy(replacement))
            yield changed


def _size(node):
    return sum(1 for _ in ast.walk(node))


def _put(tree, path, replacement):
    """Put statements or an expression into the place that ``path`` leads to."""
    *way, (field, index) = path
    node = tree
    for name, position in way:
        node = getattr(node, name)
        if position is not None:
            node = node[position]
    if index is None:
        setattr(node, field, replacement)
    elif isinstance(replacement, list):
        found = getattr(node, field)
        found[index : index + 1] = replacement
        if not found and field in ("body", "handlers"):
            found.append(ast.Pass())
    else:
        getattr(node, field)[index] = replacement


def _places(node, path=()):
    """``(path, replacements, what stands there)`` for everything that can be made smaller."""
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST):
                continue
            here = (*path, (field, index))
            replacements = _replacements(child, index)
            if replacements and field != "func":
                yield here, replacements, child
            yield from _places(child, here)


def _replacements(node, index):
    if isinstance(node, ast.stmt):
        if index is None or isinstance(node, ast.Pass | ast.Return | ast.Import):
            return []
        found = [[]]
        for field in ("body", "orelse"):
            if isinstance(inner := getattr(node, field, None), list) and inner:
                found.append(inner)
                if field == "orelse":
                    found.append([_without_else(node)])
        return found if not isinstance(node, ast.FunctionDef) else [[]]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.BoolOp):
        return list(node.values)
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Call):
        return list(node.args) or [ast.Constant(0.5)]
    if isinstance(node, ast.Subscript | ast.Name | ast.Compare) and not isinstance(
        getattr(node, "ctx", None), ast.Store
    ):
        return [ast.Constant(0.5), ast.Constant(1)]
    return []


def _without_else(node):
    node = copy.copy(node)
    node.orelse = []
    return node


def kind_of(message):
    """The name of the error that a message begins with."""
    return message.split(":")[0]


def main():
    from tests.integration import test_random_loops as tests
    from tests.integration.random_loops import arguments, draw, is_tame, load

    seed = int(sys.argv[1])
    idioms = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "program.py")
        source, fun, args = draw(seed, path, idioms=idioms)
        stage, message = tests.failure(fun, args, seed, thorough=True) or (None, "nothing is wrong")
        print(source, message, sep="\n")
        if stage is None:
            return

        def fails(text):
            try:
                fun = load(text, path)
                args = arguments(seed, 5)
                if not is_tame(fun, args):
                    return False
            except Exception:
                return False
            found = tests.failure(fun, args, seed, thorough=True)
            return found is not None and (found[0], kind_of(found[1])) == (stage, kind_of(message))

        small = shrink(source, fails)
        print(f"--- {stage}\n{small}")
        print(tests.failure(load(small, path), args, seed, thorough=True)[1])


if __name__ == "__main__":
    main()
