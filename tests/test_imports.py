# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: walks the imports of every module and holds the rule."""

from __future__ import annotations

import ast
import subprocess
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

WRAPPERS = {
    "images/stores/adapter.py": {"requests", "urllib3"},
    "images/stores/transfer_curl.py": {"pycurl"},
    "images/stores/transfer_requests.py": {"requests", "urllib3"},
}
"""Modules around a library, which are imported on demand themselves."""

ADAPTERS = {
    "images/stores/adapter.py",
    "images/stores/transfer_curl.py",
    "images/stores/transfer_requests.py",
}
"""Modules that are all about a third-party one, and are themselves imported on demand."""


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path, *, top_level_only: bool, whole: bool = False) -> Iterator[str]:
    """Yield what a module imports: the packages, or the whole dotted names."""
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
            yield from (alias.name if whole else alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}: relative import"
            yield node.module if whole else node.module.split(".")[0]


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
        if str(path.relative_to(ROOT)) in ADAPTERS:
            continue
        names = set(_imports(path, top_level_only=True))
        foreign = names - sys.stdlib_module_names - set(MAY_IMPORT) - {"__future__"}
        foreign -= WRAPPERS.get(str(path.relative_to(ROOT)), set())
        assert not foreign, f"{path} imports {foreign} at its top level"


def test_wrappers_are_imported_on_demand() -> None:
    loads_all = "import images.stores.http, images.fetch, images.serve, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", loads_all], cwd=ROOT, capture_output=True, text=True
    )
    loaded = set(run.stdout.split())
    assert "images.stores.transfer" in loaded, run.stderr
    assert not loaded & {"requests", "urllib3", "pycurl"}


def test_adapters_are_imported_on_demand() -> None:
    adapters = {name.removesuffix(".py").replace("/", ".") for name in ADAPTERS}
    for package in sorted(MAY_IMPORT):
        for path in _modules(package):
            if str(path.relative_to(ROOT)) not in ADAPTERS:
                imported = set(_imports(path, top_level_only=True, whole=True))
                assert not imported & adapters, path


def test_the_rule_sees_a_forbidden_import(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import updater.cli\ndef f():\n    import pycurl\n")
    assert set(_imports(module, top_level_only=False)) == {"updater", "pycurl"}
    assert set(_imports(module, top_level_only=True)) == {"updater"}
