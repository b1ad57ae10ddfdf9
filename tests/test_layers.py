"""The house stands: imports point down one total order of nouns, absolutely, without cycles."""

import ast
import graphlib
from pathlib import Path

import pytest

# The nine wings, from low to high: each imports only from those on lines below its own.
WINGS = (
    {"core"},
    {"molecules"},
    {"encoders", "data"},
    {"models", "evaluation"},
    {"training"},
    {"campaigns"},
    {"screening"},
    {"web"},
    {"cli"},
)
# Beside the wings: the front door, the one file that knows every kind of model, `python -m`, and
# the client of a server, which needs no wing but core.
BESIDE = {"opening", "__main__", "client"}
# Predictor.load opens models of every kind, so it alone asks the file that knows them.
# The doctor asks a server as a user's program does.
UPWARD = {
    ("paratope.models.predictor", "paratope.opening"),
    ("paratope.cli.doctor", "paratope.client"),
}
FLOOR = {wing: number for number, wings in enumerate(WINGS) for wing in wings}

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


def wing(module: str) -> str:
    return module.split(".")[1]


def test_every_module_is_in_a_wing_and_has_a_name_of_its_own():
    names = {path.stem for path in MODULES.values()}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
    assert {wing(module) for module in MODULES if module != "paratope"} <= set(FLOOR) | BESIDE


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"paratope"}))
def test_imports_point_down(module: str):
    for target in imported_modules(MODULES[module]):
        assert target in MODULES, f"{module} imports {target}, which does not exist"
        assert target != "paratope", f"{module} imports the package's own front door"
        if (module, target) in UPWARD or wing(module) in BESIDE | {wing(target)}:
            continue
        assert wing(target) in FLOOR, f"{module} imports {target}, which stands beside the wings"
        below = FLOOR[wing(target)] < FLOOR[wing(module)]
        assert below, f"{module} imports {target}, which is not below it"


def test_no_import_cycles_inside_packages():
    graph = {
        module: {
            target
            for target in imported_modules(path)
            if target != module and (module, target) not in UPWARD
        }
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
