"""Print the size and shape of the package: lines by kind, files, functions, imports up the order.

Usage: python scripts/count_house.py [FOLDER ...] [--names] [--trace]

A folder is a checkout; by default the one this script is in. Several stand side by side.
With --names, private functions with one caller and functions of many parameters are listed.
With --trace, `paratope adapt` is run on a small simulated table, to see which files of the package
its calls enter, which takes minutes; otherwise nothing of a checkout is imported or run.
"""

import ast
import collections
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import FrameType

WINGS = (
    ("core",),
    ("molecules",),
    ("encoders", "data"),
    ("models", "evaluation"),
    ("training",),
    ("campaigns",),
    ("screening",),
    ("cli", "web"),
)
FLOOR = {wing: number for number, wings in enumerate(WINGS) for wing in wings}
MOST_PARAMETERS = 8
KINDS = ("code", "import", "docstring", "comment", "blank")
# The call that reads adapt's table, and returns when the campaign exists.
READER = "campaign_of"
TRACED_ROWS = 24
Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_by_kind(text: str, tree: ast.AST) -> collections.Counter[str]:
    """Lines of code, docstring, comment, import and blank; each line is of one kind."""
    kinds = ["code" if line.strip() else "blank" for line in text.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            kinds[token.start[0] - 1] = "comment"
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        documented = isinstance(node, Function | ast.ClassDef | ast.Module)
        if documented and body and ast.get_docstring(node, clean=False) is not None:
            for line in range(body[0].lineno, body[0].end_lineno + 1):
                kinds[line - 1] = "docstring"
        if isinstance(node, ast.Import | ast.ImportFrom):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                kinds[line - 1] = "import"
    return collections.Counter(kinds)


def parameters(function: Function) -> int:
    """Parameters of a function but self and cls."""
    arguments = function.args
    names = [
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    ]
    return len([name for name in names if name not in ("self", "cls")])


def describe(root: Path) -> tuple[dict[str, object], list[str]]:
    """Figures of a checkout by name, and the names behind some of them."""
    package = root / "src" / "paratope"
    paths = sorted(package.rglob("*.py"))
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    kinds: collections.Counter[str] = collections.Counter()
    uses: collections.Counter[tuple[Path, str]] = collections.Counter()
    called: set[tuple[Path, str]] = set()
    functions: list[tuple[Path, Function]] = []
    upward = splats = any_typed = 0
    for path, tree in trees.items():
        kinds += lines_by_kind(texts[path], tree)
        wing = path.relative_to(package).parts[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                uses[path, node.id] += 1
            elif isinstance(node, ast.Attribute):
                uses[path, node.attr] += 1
            elif isinstance(node, Function):
                functions.append((path, node))
                any_typed += sum(
                    isinstance(parameter.annotation, ast.Name) and parameter.annotation.id == "Any"
                    for parameter in (*node.args.args, *node.args.kwonlyargs)
                )
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("paratope."):
                target = (node.module or "").split(".")[1]
                upward += FLOOR.get(target, -1) > FLOOR.get(wing, 99)
            elif isinstance(node, ast.Call):
                called.add((path, getattr(node.func, "id", getattr(node.func, "attr", ""))))
                splats += sum(
                    isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Tuple)
                    for argument in node.args
                )
    private = [
        (path, function)
        for path, function in functions
        if re.match(r"_[^_]", function.name) and uses[path, function.name] == 1
    ]
    # not the entries of a table, callbacks, caches, contexts and hooks
    plain = [
        function
        for path, function in private
        if (path, function.name) in called and not function.decorator_list
    ]
    crowded = [
        (path, function)
        for path, function in functions
        if parameters(function) > MOST_PARAMETERS
        and "cli" not in path.relative_to(package).parts[:1]  # options of a command
    ]
    lengths = sorted((node.end_lineno or 0) - node.lineno + 1 for _, node in functions)
    rooms = {
        path.relative_to(package).parts[0] for path in paths if path != package / "__init__.py"
    }
    tests = sorted((root / "tests").rglob("*.py"))
    dependencies = re.search(
        r"^dependencies = \[(.*?)^\]", (root / "pyproject.toml").read_text("utf-8"), re.S | re.M
    )
    figures: dict[str, object] = {
        "lines of src": sum(kinds.values()),
        **{
            f"  {kind}": kinds[kind] for kind in ("code", "import", "docstring", "comment", "blank")
        },
        "files": len(paths),
        "rooms of the top level": len(rooms),
        "functions": len(functions),
        "  length, median": int(median(lengths)),
        "  length, nine in ten under": lengths[int(0.9 * len(lengths))],
        "  longest": lengths[-1],
        "private functions with one caller": len(private),
        "  plainly called": len(plain),
        f"functions of over {MOST_PARAMETERS} parameters": len(crowded),
        "calls through *(...)": splats,
        "parameters typed Any": any_typed,
        "lines marked fmt: skip": sum(text.count("# fmt: skip") for text in texts.values()),
        "imports up the order": upward,
        "lines of tests": sum(path.read_text("utf-8").count("\n") for path in tests),
        "core dependencies": len(re.findall(r'^\s*"', dependencies[1], re.M))
        if dependencies
        else 0,
    }
    listed = [
        f"{path.relative_to(root)}:{node.lineno} {node.name}: {why}"
        for why, some in (("one caller", private), ("many parameters", crowded))
        for path, node in some
    ]
    return figures, listed


@contextlib.contextmanager
def entered(package: Path, reader: str = READER) -> Iterator[dict[str, set[Path]]]:
    """Files of a package whose functions are called: by the reader and what it calls, and by all.

    What runs only because a module is imported does not count.
    """
    files: dict[str, set[Path]] = {"reader": set(), "all": set()}
    depth = {"import": 0, "reader": 0}

    def profile(frame: FrameType, event: str, _: object) -> None:
        step = {"call": 1, "return": -1}.get(event, 0)
        name = frame.f_code.co_name
        if name == "<module>":
            depth["import"] += step
        elif step and not depth["import"]:
            path = Path(frame.f_code.co_filename)
            if name == reader and path.is_relative_to(package):
                depth["reader"] += step
            if event == "call" and path.is_relative_to(package):
                files["all"].add(path)
                if depth["reader"]:
                    files["reader"].add(path)

    sys.setprofile(profile)
    try:
        yield files
    finally:
        sys.setprofile(None)


def run_adapt(package: Path) -> dict[str, int]:
    """Files and folders that `paratope adapt` enters, run in this process; see `trace`."""
    from paratope.cli import main as paratope

    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARATOPE_CACHE"] = folder
        table, model = str(Path(folder) / "plate.csv"), str(Path(folder) / "model")
        simulated = ("--antibodies", str(TRACED_ROWS), "--antigens", "1", "-o", table)
        with contextlib.redirect_stdout(sys.stderr):
            with contextlib.suppress(SystemExit):
                paratope(["data", "simulate", *simulated])
            with entered(package) as files, contextlib.suppress(SystemExit):
                paratope(["adapt", table, "-o", model])
        if not (Path(model) / "config.json").exists():
            raise SystemExit(f"adapt failed in {package}")
    return {
        "files adapt's table enters": len(files["reader"]),
        "  folders": len({path.parent for path in files["reader"]}),
        "files adapt enters": len(files["all"]),
        "  folders of them": len({path.parent for path in files["all"]}),
    }


def trace(root: Path) -> dict[str, int]:
    """Distinct files and folders of a checkout that `paratope adapt` enters, in a new process.

    First from the call that reads the table until the campaign exists, then over the whole command.
    """
    source = root.resolve() / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--traced", str(source / "paratope")],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def main(arguments: list[str]) -> None:
    """Print the figures of each checkout as a table."""
    folders = [Path(argument) for argument in arguments if not argument.startswith("--")]
    if "--traced" in arguments:
        print(json.dumps(run_adapt(folders[0])))
        return
    folders = folders or [Path(__file__).resolve().parents[1]]
    described = [describe(folder) for folder in folders]
    if "--trace" in arguments:
        for folder, (figures, _) in zip(folders, described, strict=True):
            figures.update(trace(folder))
    print(f"{'':36}" + "".join(f"{folder.resolve().name[:14]:>15}" for folder in folders))
    for name in described[0][0]:
        print(f"{name:36}" + "".join(f"{figures[name]:>15,}" for figures, _ in described))
    if "--names" in arguments:
        print(*(line for _, listed in described for line in listed), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
