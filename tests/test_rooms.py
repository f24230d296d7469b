"""The order of the rooms, and who may do what in them."""
import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dcgan_mx"
# A room may import, of the package, what stands above it; CONTRIBUTING.md says what is in each.
ROOMS = ("machine", "symbols", "visual", "runs", "jobs", "data", "iterators", "images", "training",
         "trainer", "pages", "commands")
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
# What has to start quickly, or where MXNet cannot be imported.
WITHOUT_MXNET = ("visual.py", "runs/", "jobs/", "data/datasets.py", "data/errors.py",
                 "data/records.py", "data/encoding.py", "data/packing.py", "data/sources.py",
                 "images/animate.py", "pages/page.py", "pages/report.py", "commands/main.py",
                 "commands/cli.py", "commands/report.py", "commands/animate.py",
                 "commands/pack.py", "commands/launch.py", "commands/doctor.py")


def find_imports(module):
    """What a module imports when it is imported: the package's modules, and others' first names.

    What only annotations need, and what a function imports when it is called, does not count.
    """
    ours, others = set(), set()
    parts = ("dcgan_mx", *module[:-3].split("/"))
    nodes = list(ast.parse((PACKAGE / module).read_text()).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*parts[:-node.level], *(node.module or "").split(".")]
            ours.update(".".join([*filter(None, base), alias.name]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            others.update(alias.name.split(".")[0] for alias in node.names)
        elif not isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not (
                isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"):
            nodes += ast.iter_child_nodes(node)
    return ours, others


def find_room(name):
    """The room of a module, `dcgan_mx.ROOM` or below."""
    return name.split(".")[1]


def test_the_rooms_are_all_there_is():
    found = {Path(module).parts[0].replace(".py", "") for module in MODULES}
    assert found - {"__init__", "__main__"} == {*ROOMS}
    folders = {room for room in ROOMS if (PACKAGE / room).is_dir()}
    assert len(folders) <= 8 and {path.name for path in PACKAGE.iterdir() if path.is_dir()
                                  and any(path.rglob("*.py"))} == folders
    # no room: files that are read, never imported
    assert {path.suffix for path in (PACKAGE / "pretrained").iterdir()} == {".json", ".params"}
    for folder in folders:
        text = (PACKAGE / folder / "__init__.py").read_text()
        assert text.startswith('"""') and 1 <= len(text.splitlines()) <= 4
        assert find_imports(f"{folder}/__init__.py") == (set(), set())


@pytest.mark.parametrize("module", [m for m in MODULES if not m.startswith("__")])
def test_imports_lead_to_rooms_above_only(module):
    ours, others = find_imports(module)
    room = Path(module).parts[0].replace(".py", "")
    above = {*ROOMS[:ROOMS.index(room) + 1]}
    assert {find_room(name) for name in ours - {"dcgan_mx.__version__"}} <= above
    assert ("mxnet" in others) == (module == "machine/runtime.py")
    assert "argparse" not in others or room == "commands"
    if module.startswith(WITHOUT_MXNET):
        assert "dcgan_mx.machine.runtime.mx" not in ours


def test_the_trainer_knows_no_data_no_hooks_and_no_checkpoints():
    ours, _ = find_imports("trainer.py")
    for name in ours:
        assert find_room(name) not in ("data", "iterators", "images", "jobs")
        assert not {"checkpoint", "hooks", "saver", "session"} & {*name.split(".")}


def test_only_device_decides_for_a_processor():
    """What looks at the processor itself has no other choice."""
    files = {*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "scripts").glob("*.py")}
    assert {path.stem for path in files if "mx.cpu(" in path.read_text()} == {"amx", "device"}
