"""Does an export hold itself together? Plain files within the folder, whole as the manifest says, and nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vlmplan.exporting import FILE_NAME, Manifest, file_sha256
from vlmplan.proof.report import MOST_LISTED, Check, verdict


def _entries(folder: Path) -> Iterator[Path]:
    """Every file and folder below, links as themselves: what they point to is not entered."""
    for here, folders, files in os.walk(folder, followlinks=False):
        yield from (Path(here) / name for name in sorted((*folders, *files)))


def astray(folder: Path) -> list[str]:
    """Entries that lead out of the folder, or are neither file nor folder: nothing of such an export is read."""
    faults = []
    for path in _entries(folder):
        name = path.relative_to(folder)
        if path.is_symlink():
            faults.append(f"{name} is a symbolic link; expected the file itself")
        elif not (path.is_dir() or path.is_file()):
            faults.append(f"{name} is no regular file")
    return faults


def _is_inside(name: str) -> bool:
    """Whether a name in the manifest is that of a file below the folder, written in the one plain way."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and str(path) == name and "\0" not in name


def integrity(folder: Path, manifest: Manifest, most_bytes: int) -> Check:
    """Every file of the manifest is there, whole and unchanged, and nothing else is: clients read what they find.

    A file above ``most_bytes`` cannot be one of the export's, and is not read.
    """
    faults = []
    for name, digest in manifest.files.items():
        path = folder / name
        if not _is_inside(name):
            faults.append(f"{name} is no file in the export")
        elif not path.is_file():
            faults.append(f"{name} is missing")
        elif (found := path.stat().st_size) > most_bytes:
            faults.append(f"{name} has {found} bytes, more than all of the checkpoint")
        elif found != digest.size_bytes:
            faults.append(f"{name} has {found} bytes, the manifest says {digest.size_bytes}")
        elif file_sha256(path) != digest.sha256:
            faults.append(f"{name} has another SHA-256 than the manifest says")
    known = {FILE_NAME, *manifest.files}
    known |= {str(parent) for name in known for parent in PurePosixPath(name).parents}
    strangers = sorted({str(path.relative_to(folder)) for path in _entries(folder)} - known)
    if strangers:
        faults.append(f"{', '.join(strangers[:MOST_LISTED])} not in the manifest")
    size = sum(digest.size_bytes for digest in manifest.files.values())
    return verdict("integrity", faults, f"{len(manifest.files)} files, {size / 1e6:.1f} MB, as the manifest says")
