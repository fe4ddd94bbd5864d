"""Lint, format and types are tests too; the wheel holds what an installed vlmplan needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_static_check(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_built_wheel_finds_its_profiles(tmp_path: Path) -> None:
    """Built, unpacked and run from elsewhere, so that neither the checkout nor an editable install can help."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from vlmplan.inventory import catalogue; "
        "print(catalogue.profiles_folder(), catalogue.hardware('l4').name, len(catalogue.models())); "
        "print('tomli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0].startswith(str(site))
    assert done.stdout.split()[1] == "l4"
    assert int(done.stdout.split()[2]) >= 20
    assert done.stdout.split()[3] == "False"  # all of it from the compiled catalogue
