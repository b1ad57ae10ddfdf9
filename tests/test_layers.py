"""The house stands: imports point down one total order of nouns, absolutely, without cycles."""

import ast
import graphlib
from pathlib import Path

import pytest

# From low to high: a module may import only what stands left of it.
LAYERS = (
    "errors interruption units sequences numbering mutations liabilities measurements tables "
    "datasets audit splits campaign encoders embedding_store likelihood batches recomputation "
    "network losses metrics recipes fine_tuning dual_encoder monitors loggers training search "
    "familiarity held_out calibration ensemble kernels label_scale gaussian_process sparse_process "
    "campaign_model bundle campaign_bundle prediction predictor joining run_card runs "
    "baselines figures scanning evaluation adaptation suggestion campaign_simulation cli"
).split()

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "paratope"


def module_name(path: Path) -> str:
    parts = ("paratope", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported_modules(path: Path) -> set[str]:
    """Our modules that a file imports, at its top or inside any function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                if submodule in MODULES:
                    found.add(submodule)
                elif submodule != "paratope.__version__":  # a plain constant of the root
                    found.add(node.module or "")
    return {name for name in found if name == "paratope" or name.startswith("paratope.")}


def noun(module: str) -> str:
    return module.split(".")[1]


def test_order_lists_every_module_once():
    nouns = {noun(module) for module in MODULES if module != "paratope"}
    assert len(LAYERS) == len(set(LAYERS))
    assert sorted(nouns) == sorted(LAYERS)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"paratope"}))
def test_imports_point_down(module: str):
    rank = LAYERS.index(noun(module))
    for target in imported_modules(MODULES[module]):
        assert target in MODULES, f"{module} imports {target}, which does not exist"
        assert target != "paratope", f"{module} imports the package's own front door"
        assert LAYERS.index(noun(target)) <= rank, f"{module} imports {target}, which is above it"


def test_no_import_cycles_inside_packages():
    graph = {
        module: {target for target in imported_modules(path) if target != module}
        for module, path in MODULES.items()
        if module != "paratope"
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_public_names_come_from_the_modules_that_define_them():
    import paratope

    assert sorted(paratope._HOMES) == sorted(paratope.__all__)
    for name, home in paratope._HOMES.items():
        assert getattr(paratope, name).__module__.startswith(home), name
    with pytest.raises(AttributeError, match="no attribute 'antibody'"):
        paratope.antibody  # noqa: B018 - the access itself is what is tested


def test_files_and_functions_stay_small():
    """About 400 lines a file and 60 a function: a tenth more is where "about" ends."""
    too_long = {}
    for module, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 440:
            too_long[module] = lines
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (lines := code_lines(node)) > 66:
                too_long[f"{module}.{node.name}"] = lines
    assert not too_long


def code_lines(function: ast.FunctionDef) -> int:
    """Lines of a function, its docstring not counted."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_no_unnamed_leftovers():
    names = {path.stem for path in MODULES.values()}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
