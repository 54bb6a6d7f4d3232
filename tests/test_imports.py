# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: walks the imports of every module and holds the rule."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAY_IMPORT = {
    "fsprobe": set[str](),
    "boot": set[str](),
    "images": {"fsprobe"},
    "updater": {"fsprobe", "images", "boot"},
}


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path, *, top_level_only: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            guarded.update(ast.walk(node))
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            guarded.update(ast.walk(node))
    for node in ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_only_what_the_design_allows(package: str) -> None:
    modules = _modules(package)
    assert modules
    for path in modules:
        ours = {name for name in _imports(path, top_level_only=False) if name in MAY_IMPORT}
        assert ours <= MAY_IMPORT[package] | {package}, path


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_third_party_modules_are_imported_on_demand(package: str) -> None:
    for path in _modules(package):
        names = set(_imports(path, top_level_only=True))
        foreign = names - sys.stdlib_module_names - set(MAY_IMPORT) - {"__future__"}
        assert not foreign, f"{path} imports {foreign} at its top level"


def test_the_rule_sees_a_forbidden_import(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import updater.cli\ndef f():\n    import pycurl\n")
    assert set(_imports(module, top_level_only=False)) == {"updater", "pycurl"}
    assert set(_imports(module, top_level_only=True)) == {"updater"}
