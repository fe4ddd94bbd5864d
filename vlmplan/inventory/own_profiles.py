"""Where do the profiles of one's own devices live? The user's folder for data, by the platform's convention.

``$XDG_DATA_HOME/vlmplan/hardware`` or ``~/.local/share/...``, ``~/Library/Application Support/...`` on macOS,
``%LOCALAPPDATA%/...`` on Windows. What ``vlmplan profile`` measured and put there is found when this machine is
planned for. ``quick/`` beside it keeps for a day what was measured in a moment.
"""

import contextlib
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path

from vlmplan.document import load, to_toml, write_text
from vlmplan.errors import InputError
from vlmplan.hardware import HardwareProfile

_KEPT_S = 24 * 3600.0


def data_folder(environment: Mapping[str, str] | None = None, system: str | None = None) -> Path:
    """Return the folder of vlmplan's data; it need not exist. A relative path in a variable is ignored, as XDG says.

    A user without a home gets one below the root, where nothing of others' is read and mostly nothing can be written.
    """
    here, name = os.environ if environment is None else environment, system or platform.system()
    home = Path(here.get("HOME") or here.get("USERPROFILE") or os.path.expanduser("~"))  # noqa: PTH111 - cannot fail
    home = home if home.is_absolute() else Path("/")
    variable, usual = {
        "Windows": ("LOCALAPPDATA", home / "AppData" / "Local"),
        "Darwin": ("", home / "Library" / "Application Support"),
    }.get(name, ("XDG_DATA_HOME", home / ".local" / "share"))
    given = Path(here.get(variable, "") if variable else "")
    return (given if given.is_absolute() else usual) / "vlmplan"


def own_path(name: str, folder: Path | None = None) -> Path:
    """Return where the profile of a device of that name belongs, its folder made. Raises InputError."""
    whole = (folder or data_folder()) / "hardware"
    try:
        whole.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{whole}: cannot be made ({error.strerror}); name a file with --out") from None
    return whole / f"{_slug(name)}.toml"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9+.]+", "-", name.lower()).strip("-.") or "device"


def own_profiles(folder: Path | None = None) -> tuple[tuple[Path, HardwareProfile], ...]:
    """Return the profiles there, by name of file; one that cannot be read is left out."""
    profiles = []
    with contextlib.suppress(OSError):
        for path in sorted(((folder or data_folder()) / "hardware").glob("*.toml")):
            with contextlib.suppress(InputError):
                profiles.append((path, load(HardwareProfile, path)))
    return tuple(profiles)


def own_profile(device: str, gpu: bool, folder: Path | None = None) -> tuple[Path, HardwareProfile] | None:
    """Return the newest profile of a device by the name that ``profile`` gave it; None where there is none."""
    fitting = [
        (path, one)
        for path, one in own_profiles(folder)
        if re.sub(r", \d+ threads$", "", one.title).casefold() == device.casefold() and (one.kind != "cpu") is gpu
    ]
    return max(fitting, key=lambda entry: (_date(entry[1]), entry[0].name), default=None)


def _date(profile: HardwareProfile) -> str:
    return max((one.date or "" for one in profile.calibration), default="")


def kept(name: str, folder: Path | None = None) -> tuple[HardwareProfile, bool] | None:
    """Return what was measured in a moment and kept, and whether in the last day; None where nothing can be read."""
    path = (folder or data_folder()) / "quick" / f"{_slug(name)}.toml"
    with contextlib.suppress(OSError, InputError):
        if path.is_file():
            return load(HardwareProfile, path), 0 <= time.time() - path.stat().st_mtime < _KEPT_S
    return None


def keep(profile: HardwareProfile, folder: Path | None = None) -> Path | None:
    """Keep what was measured in a moment, so that the next plan rests on the same; None where it cannot be written."""
    path = (folder or data_folder()) / "quick" / f"{_slug(profile.name)}.toml"
    with contextlib.suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, to_toml(profile))
        return path
    return None
