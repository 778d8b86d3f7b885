"""The private copy beside the version it was made from: who is in an audience, what is filled."""

from pathlib import Path

import duckdb
import pytest

from klantbeeld.cli import main
from klantbeeld.settings import load_settings
from klantbeeld.transform.dev import AudienceChange, FieldChange, compare

_BEFORE = """
    create schema segments; create schema activation; create schema marts; create schema insights;
    create table segments.seg_old as select 'P' || n as profile_id from range(3) t(n);
    create table activation.audience_old as select 'k' || n as contact_point_key from range(2) t(n);
    create table marts.dim_profiles as
    select 'P' || n as profile_id, 'Lotte' as first_name from range(4) t(n);
    create table insights.profile_measures as
    select 'P' || n as profile_id, n as order_count from range(4) t(n)
"""
_CHANGE = """
    create table segments.seg_new as select 'P' || n as profile_id from range(4) t(n);
    create table activation.audience_new as select 'k' || n as contact_point_key from range(1) t(n);
    alter table marts.dim_profiles add column shoe_size integer;
    update marts.dim_profiles set shoe_size = 41 where profile_id <> 'P0';
    alter table insights.profile_measures add column visit_count integer;
    update insights.profile_measures set order_count = 9 where profile_id = 'P0'
"""


def test_a_new_audience_field_and_measure_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("KLANTBEELD_HOME", str(home))
    folder = load_settings().paths.dev_dir
    (folder / "baseline").mkdir(parents=True)
    for path, sql in ((folder / "baseline", _BEFORE), (folder, _BEFORE + ";" + _CHANGE)):
        with duckdb.connect(str(path / "warehouse.duckdb")) as connection:
            connection.execute(sql)
    audiences, fields = compare(load_settings())
    assert audiences == [
        AudienceChange("new", None, 4, 4, 0, reachable=1),
        AudienceChange("old", 3, 3, 0, 0, reachable=2),
    ]
    assert fields == [
        FieldChange("shoe_size", 3, 3, 0),
        FieldChange("order_count", 1, 0, 0),
        FieldChange("visit_count", 0, 0, 0),
    ]
    with pytest.raises(SystemExit):
        main(["dev", "compare"])
    told = capsys.readouterr().out
    assert "reachable" in told
    assert "shoe_size" in told
