"""Does an export hold itself together? Plain files within the folder, whole as the manifest says, and nothing else."""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath

from vlmplan.errors import InputError
from vlmplan.exporting import FILE_NAME, Manifest, file_sha256
from vlmplan.proof.report import LINKS, MOST_LISTED, Check, failed, skipped, verdict

_LONGEST_NAME_BYTES = 255  # of a part of a path, on the file systems there are
_MOST_DEEP = 16  # folders within folders
_OF_A_HUB = (".gitattributes", "README.md", "LICENSE")  # made by an upload
# What "hf download --local-dir" makes below this folder: for each file a lock, and what it fetched (its commit, its
# ETag and the time, a line each). https://huggingface.co/docs/huggingface_hub/guides/download, and _local_folder.py of
# huggingface_hub 1.2, read 2026-11-28.
_CACHE = PurePosixPath(".cache/huggingface")
_FETCHED = re.compile(rb"[0-9a-f]{40}\n[0-9A-Za-z_\"/.:-]{1,128}\n[0-9]{1,12}(\.[0-9]{1,9})?\n?")
_OF_THE_CACHE = {
    ".gitignore.lock": re.compile(rb""),
    ".gitignore": re.compile(rb"\*\n?"),
    "CACHEDIR.TAG": re.compile(rb"Signature: 8a477f597d28d172789f06886806bc55\n[ -~\t\n]{0,300}"),
}
_MOST_CACHED_BYTES = 512
_MOST_OF_A_HUB_BYTES = 2**16


def _entries(folder: Path) -> Iterator[Path]:
    """Every file and folder below, links as themselves: what they point to is not entered."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if len(here.relative_to(folder).parts) > _MOST_DEEP:
            raise InputError(
                f"{folder}: has folders more than {_MOST_DEEP} deep; expected one that vlmplan export wrote"
            )
        try:
            entries = sorted(here.iterdir())
        except OSError:  # it went, or may not be read
            continue
        yield from entries
        waiting += [path for path in entries if path.is_dir() and not path.is_symlink()]


def _is_of_a_hub(folder: Path, name: str, known: Set[str]) -> bool:
    """Whether a file or folder is one that a model hub or its downloader lays beside the ``known``, and no more.

    Small texts that no client reads: nothing else finds room there.
    """
    path, place = folder / name, PurePosixPath(name)
    if not place.is_relative_to(_CACHE.parent):
        return name in _OF_A_HUB and path.is_file() and _is_text(path)
    inner = place.relative_to(_CACHE) if place.is_relative_to(_CACHE) else PurePosixPath()
    if path.is_dir():
        folders = {"", "download"} | {f"download/{one}" for one in known if (folder / one).is_dir()}
        return str(inner).removeprefix(".") in folders
    if path.lstat().st_size > _MOST_CACHED_BYTES:
        return False
    content = path.read_bytes()
    if str(inner) in _OF_THE_CACHE:
        return _OF_THE_CACHE[str(inner)].fullmatch(content) is not None
    of = str(inner.relative_to("download").with_suffix("")) if inner.parts[:1] == ("download",) else ""
    if of not in known and of not in _OF_A_HUB:
        return False
    return not content if inner.suffix == ".lock" else inner.suffix == ".metadata" and bool(_FETCHED.fullmatch(content))


def _is_text(path: Path) -> bool:
    """Whether a small file is text that a page can show."""
    if path.lstat().st_size > _MOST_OF_A_HUB_BYTES:
        return False
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return all(one.isprintable() or one in "\n\r\t" for one in text)


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


def links(folder: Path) -> Iterator[Check]:
    """Say which files have a name outside the folder too.

    Backups, ``cp -l`` and savers of disk space make such hard links in good faith, and what is read is compared by
    content: refusing them would refuse good exports. But whoever holds the other name can change the file after the
    checks, without touching the folder; so the verdict leaves that open.
    """
    names: dict[tuple[int, int], list[str]] = {}
    counts: dict[tuple[int, int], int] = {}
    for path in _entries(folder):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            names.setdefault((status.st_dev, status.st_ino), []).append(str(path.relative_to(folder)))
            counts[(status.st_dev, status.st_ino)] = status.st_nlink
    shared = sorted(name for file, inside in names.items() if counts[file] > len(inside) for name in inside)
    if shared:
        more = f" and {len(shared) - MOST_LISTED} more" if len(shared) > MOST_LISTED else ""
        yield skipped(
            LINKS,
            f"hard links, with a name outside the folder by which they can be changed after these checks: "
            f"{', '.join(shared[:MOST_LISTED])}{more}; copy the folder and validate the copy",
        )


def stamp(folder: Path) -> dict[str, tuple[int, ...]]:
    """Which files and folders are there, and what changes with them: compared after the checks with what was before."""
    looked = {str(path.relative_to(folder)): _status(path) for path in _entries(folder)}
    looked |= {".": _status(folder), "its folder": _status(Path(os.path.realpath(folder)))}
    return {
        name: (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for name, status in looked.items()
        if status is not None
    }


def contents(folder: Path, most_bytes: int) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder that has at most so many bytes, by name."""
    digests = {}
    for path in _entries(folder):
        status = _status(path)
        if status is not None and stat.S_ISREG(status.st_mode) and status.st_size <= most_bytes:
            digests[str(path.relative_to(folder))] = file_sha256(path)
    return digests


def rewritten(folder: Path, held: Mapping[str, str]) -> list[str]:
    """Names of the files in ``held`` that have another SHA-256 than there, or are gone.

    A stamp does not tell: who has mapped a file into his memory writes to it, and neither of its times moves.
    """
    return [name for name, due in held.items() if not (folder / name).is_file() or file_sha256(folder / name) != due]


def unchanged(names: Sequence[str]) -> Check:
    """Return the fault that files changed between the first look at them and the last."""
    return failed("unchanged", f"{', '.join(names[:MOST_LISTED])} changed while the folder was read; validate it again")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:  # it went while the folder was read: the next look sees that
        return None


def _is_inside(name: str) -> bool:
    """Whether a name in the manifest is that of a file below the folder, written in the one plain way."""
    path = PurePosixPath(name)
    nameable = all(len(part.encode("utf-8", "surrogatepass")) <= _LONGEST_NAME_BYTES for part in path.parts)
    return nameable and not path.is_absolute() and ".." not in path.parts and str(path) == name and "\0" not in name


def integrity(folder: Path, manifest: Manifest, most_bytes: int) -> Check:
    """Every file of the manifest is there, whole and unchanged, and nothing else is: clients read what they find.

    A file above ``most_bytes`` cannot be one of the export's, and is not read.
    """
    faults = []
    for name, digest in manifest.files.items():
        path = folder / name
        if not _is_inside(name):
            faults.append(f"{name[:_LONGEST_NAME_BYTES]} is no file in the export")
        elif not path.is_file():
            faults.append(f"{name} is missing")
        elif (size_bytes := path.stat().st_size) > most_bytes:
            faults.append(f"{name} has {size_bytes} bytes, more than all of the checkpoint")
        elif size_bytes != digest.size_bytes:
            faults.append(f"{name} has {size_bytes} bytes, the manifest says {digest.size_bytes}")
        elif file_sha256(path) != digest.sha256:
            faults.append(f"{name} has another SHA-256 than the manifest says")
    known = {FILE_NAME, *manifest.files}
    known |= {str(parent) for name in known for parent in PurePosixPath(name).parents}
    beside = {str(path.relative_to(folder)) for path in _entries(folder)} - known
    strangers = sorted(name for name in beside if not _is_of_a_hub(folder, name, known))
    if strangers:
        faults.append(f"{', '.join(strangers[:MOST_LISTED])} not in the manifest")
    size = sum(digest.size_bytes for digest in manifest.files.values())
    marks = sorted(name for name in beside - set(strangers) if (folder / name).is_file())
    good = f"{len(manifest.files)} files, {size / 1e6:.1f} MB, as the manifest says"
    more = f" and {len(marks) - MOST_LISTED} more" if len(marks) > MOST_LISTED else ""
    good += f"; of a model hub, and not judged: {', '.join(marks[:MOST_LISTED])}{more}" if marks else ""
    return verdict("integrity", faults, good)
