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


def test_the_list_of_commands_cuts_no_sentence_off(capsys: pytest.CaptureFixture[str]) -> None:
    for group in (["sync"], ["identity"], ["identity", "decisions"]):
        with pytest.raises(SystemExit):
            main([*group, "--help"])
        commands = capsys.readouterr().out.partition("Commands:")[2]
        assert commands.count(".\n") >= 3
        assert "...\n" not in commands


def test_a_home_that_cannot_be_made_is_told_so_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KLANTBEELD_HOME", str(tmp_path / "file" / "home"))
    for command in ("run", "doctor"):
        with pytest.raises(SystemExit) as ended:
            main([command])
        assert ended.value.code == ExitCode.FAILED
        told = capsys.readouterr()
        assert f"{tmp_path / 'file' / 'home'} cannot be made: Not a directory" in (
            told.out + told.err
        )


def test_a_run_refuses_a_source_that_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KLANTBEELD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLANTBEELD_SOURCES__POSX__FOLDER", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["run"])
    assert ended.value.code == ExitCode.USAGE
    told = capsys.readouterr().err
    assert "sources.posx: there is no source 'posx'" in told
    assert "Known sources: crm, newsletter, pos, shop, web." in told
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
