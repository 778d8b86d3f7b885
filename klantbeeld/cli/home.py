"""The home that a command works on: one that is there already.

Only `run`, `ui`, `restore` and `demo start` make a home; every other command that is given in the
wrong folder says so, and leaves nothing behind.
"""

from klantbeeld.control import ControlPlane, open_control
from klantbeeld.errors import SettingsError
from klantbeeld.settings import Settings, load_settings


def open_home() -> tuple[Settings, ControlPlane]:
    """The settings and the control plane of the home.

    Raises:
        SettingsError: There is no home.
    """
    settings = load_settings()
    home = settings.paths.home
    if not home.is_dir():
        raise SettingsError(
            f"there is no home in {home}",
            "Go to the folder that holds it, or say where it is with KLANTBEELD_HOME;"
            " `klantbeeld run` and `klantbeeld demo start` make one.",
        )
    return settings, open_control(settings)
