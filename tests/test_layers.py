"""Imports go downwards only, so that a newcomer can read the layers one by one."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tracegrad"

#: What each layer may import, besides itself. Imports inside functions count too.
BELOW = {
    "errors": set(),
    "tree": set(),
    "same": set(),
    "ir": {"errors"},
    "ops": {"errors", "ir"},
    "staging": {"errors"},
    "tracing": {"errors", "tree", "same", "ir", "ops", "staging"},
    "transforms": {"errors", "ir", "ops"},
    "passes": {"errors", "ir", "ops"},
    "schedule": {"errors", "ir", "ops", "passes"},
    "dependence": {"errors", "ir", "ops", "transforms", "api"},
    "backend": {"errors", "ir", "ops"},
    "testing": {
        "errors",
        "ir",
        "ops",
        "passes",
        "backend",
        "transforms",
        "tree",
        "api",
        "api_derived",
        "tracing",
    },
}
#: The printer of the IR reads op names through the registry, only when it parses or evaluates.
ALLOWED = {("ir", "ops")}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "tracegrad":
                yield from (f"tracegrad.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def files(layer):
    single = PACKAGE / f"{layer}.py"
    return [single] if single.exists() else sorted((PACKAGE / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", BELOW)
def test_a_layer_imports_only_what_lies_below(layer):
    for path in files(layer):
        for name in imports(path):
            if not name.startswith("tracegrad."):
                continue
            other = name.split(".")[1]
            if other in (layer, "__version__") or (layer, other) in ALLOWED:
                continue
            assert other in BELOW[layer], f"{path.name} of {layer} imports {name}"


def test_nothing_but_tests_imports_testing():
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "testing") or path == PACKAGE / "__init__.py":
            continue  # the package names `check_grads`, and loads it when it is used
        assert not any(name.startswith("tracegrad.testing") for name in imports(path)), path
