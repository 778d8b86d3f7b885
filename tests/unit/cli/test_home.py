"""A command that is given in the wrong folder says so, and leaves nothing behind."""

from pathlib import Path

import pytest

from klantbeeld.cli import main
from klantbeeld.errors import ExitCode


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "sync status",
        "sync approve sync_crm__customer_profiles",
        "quarantine list",
        "quarantine replay",
        "sync plan sync_crm__customer_profiles",
        "sync reconcile sync_crm__customer_profiles",
        "identity models",
        "identity queue",
        "identity decisions list",
        "identity how P0000000000000",
        "dev prepare",
        "backup",
        "roll-back",
    ],
)
def test_only_commands_that_make_a_home_make_one(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KLANTBEELD_HOME", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == ExitCode.USAGE
    assert f"there is no home in {tmp_path / '.klantbeeld'}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_examining_and_reading_the_manual_make_no_home_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KLANTBEELD_HOME", raising=False)
    for command, code in ((["--help"], 0), (["doctor"], ExitCode.FAILED)):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == code
    assert "no source is set" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
