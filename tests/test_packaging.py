"""What is shipped and what is locked: the packages, their type markers, and the lock files."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {
    "scaffold": ROOT / "scaffold" / "scaffold",
    "scaffold_planners": ROOT / "planners" / "scaffold_planners",
    "scaffold_monitors": ROOT / "monitors" / "scaffold_monitors",
    "scaffold_backends": ROOT / "backends" / "scaffold_backends",
}
LOCK_FILES = sorted((ROOT / "requirements").glob("*.txt"))

# The only two kinds of line in a lock file. Neither has room for an address, a path or an option of pip's.
PIN = re.compile(r"(?P<name>[a-z0-9.-]+)==(?P<version>[a-z0-9.]+)( ; (?P<marker>[^:/]+?))? \\")
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    """The project's wheel, built here and opened."""
    directory = tmp_path_factory.mktemp("dist")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(directory), versions=["standard"])
    with ZipFile(built) as opened:
        yield opened


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_that_it_is_typed(package: str) -> None:
    """A `py.typed` stands in every package, else type checkers ignore its annotations."""
    assert (PACKAGES[package] / "py.typed").is_file()


def test_the_wheel_holds_exactly_the_four_packages(wheel: ZipFile) -> None:
    """Nothing else is shipped: no tests, no examples, and none of the folders around the packages."""
    top = {name.partition("/")[0] for name in wheel.namelist()}
    (metadata,) = (name for name in top if name.endswith(".dist-info"))
    assert metadata == f"system2_scaffold-{PROJECT['version']}.dist-info"
    assert top - {metadata} == set(PACKAGES)


def test_the_wheel_holds_every_source_file(wheel: ZipFile) -> None:
    """Each module and type marker of the source tree is shipped under its import path."""
    shipped = set(wheel.namelist())
    for name, folder in PACKAGES.items():
        sources = [*folder.rglob("*.py"), folder / "py.typed"]
        assert {f"{name}/{path.relative_to(folder).as_posix()}" for path in sources} <= shipped


def test_the_wheel_declares_the_command_and_the_plugins(wheel: ZipFile) -> None:
    """What ships with the project is found by the same entry points as a stranger's plug-in."""
    (declared,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    sections = set(re.findall(r"^\[(.+)\]$", wheel.read(declared).decode(), re.MULTILINE))
    families = {
        f"scaffold.{name}"
        for name in ("planners", "monitors", "backends", "sources", "models", "cards", "monitor_cards")
    }
    assert sections == {"console_scripts", *families}


@pytest.mark.parametrize("lock", LOCK_FILES, ids=lambda path: path.name)
def test_a_lock_file_holds_pins_and_hashes_only(lock: Path) -> None:
    """No line of a lock file names a host, a folder or an index: it installs from wherever pip is pointed."""
    for line in lock.read_text().splitlines():
        assert PIN.fullmatch(line) or HASH.fullmatch(line), line


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("base.txt", ()), ("dev.txt", ("dev", "local")), ("thorough.txt", ("thorough",))],
    ids=["base", "dev", "thorough"],
)
def test_a_lock_file_pins_every_declared_dependency(lock: str, extras: tuple[str, ...]) -> None:
    """Each dependency that the project declares is locked, to a version that its bounds allow."""
    declared = list(PROJECT["dependencies"])
    for extra in extras:
        declared += PROJECT["optional-dependencies"][extra]
    pinned = _pins_for_this_python(ROOT / "requirements" / lock)
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        if name != PROJECT["name"]:  # one extra includes another by naming the project
            assert pinned[name] in requirement.specifier, requirement


def test_the_two_lock_files_agree() -> None:
    """What both files lock, they lock to one version: tests run on what users get."""
    base = _pins_for_this_python(ROOT / "requirements" / "base.txt")
    dev = _pins_for_this_python(ROOT / "requirements" / "dev.txt")
    assert base.items() <= dev.items()


def _pins_for_this_python(lock: Path) -> dict[str, Version]:
    """The pins of a universal lock file whose markers hold for the interpreter that runs the tests."""
    found = (PIN.fullmatch(line) for line in lock.read_text().splitlines())
    return {
        canonicalize_name(pin["name"]): Version(pin["version"])
        for pin in found
        if pin and (pin["marker"] is None or Marker(pin["marker"]).evaluate())
    }
