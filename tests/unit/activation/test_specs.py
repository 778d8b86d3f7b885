"""Declarations of syncs and audiences, and what is said of wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from klantbeeld.activation import list_audiences, list_syncs
from klantbeeld.activation.specs import PrivacyRule, find_audience, find_sync
from klantbeeld.errors import KlantbeeldError

SYNC: dict[str, Any] = {
    "destination": "crm",
    "entity": "things",
    "key": "id",
    "columns": {"id": "x_id", "name": "x_name", "city": "x_city"},
}
AUDIENCE: dict[str, Any] = {
    "owner": "marketing",
    "purpose": "commercial",
    "channel": "email",
    "destination": "newsletter",
    "columns": ["email"],
}


def manifest(name: str, meta: dict[str, Any]) -> dict[str, Any]:
    node = {"resource_type": "model", "name": name, "schema": "s", "config": {"meta": meta}}
    return {"nodes": {"model.k." + name: node, "test.k.t": {"resource_type": "test"}}}


def test_a_sync_is_read_from_its_models_meta() -> None:
    (spec,) = list_syncs(manifest("sync_crm__things", {"sync": SYNC}))
    assert (spec.name, spec.relation, spec.key_column) == (
        "sync_crm__things",
        "s.sync_crm__things",
        "x_id",
    )
    assert list(spec.value_columns.items()) == [("city", "x_city"), ("name", "x_name")]
    assert find_sync(manifest("sync_crm__things", {"sync": SYNC}), "crm__things") == spec


def test_what_leaving_means_follows_the_mode() -> None:
    def read(**change: Any) -> tuple[str, str]:
        (spec,) = list_syncs(manifest("sync_crm__things", {"sync": {**SYNC, **change}}))
        return spec.mode, spec.on_leave

    assert read() == ("upsert", "nothing")
    assert read(mode="mirror") == ("mirror", "delete")
    assert read(on_leave="clear") == ("upsert", "clear")


def test_a_column_says_whose_it_is_and_what_nothing_means() -> None:
    columns = {
        **SYNC["columns"],
        "city": {"column": "x_city", "owner": "fill_empty", "when_null": "keep"},
    }
    (spec,) = list_syncs(manifest("sync_crm__things", {"sync": {**SYNC, "columns": columns}}))
    assert spec.columns == SYNC["columns"]
    assert spec.rule("x_city").owner == "fill_empty"
    assert spec.rule("x_city").may_be_absent
    assert spec.owned_columns == ("x_name",)
    assert spec.reads_first


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"key": None}, "lacks key"),
        ({"key": "other"}, "does not map the key"),
        ({"columns": {"id": "x_id", "a": "x_id"}}, "two columns to one"),
        ({"option_columns": ["nothing"]}, "not mapped"),
        ({"columns": ["id"]}, "columns must be a mapping"),
        ({"columns": {"id": "x_id", "a": {"owner": "ours"}}}, "columns.a lacks column"),
        ({"columns": {"id": "x_id", "a": {"column": "b", "owner": "us"}}}, "columns.a.owner is"),
        ({"columns": {"id": "x_id", "a": {"column": "b", "when_nul": "keep"}}}, "unknown entries"),
        ({"columns": {"id": {"column": "x_id", "owner": "theirs"}}}, "rules for the key"),
        (
            {"columns": {"id": "x_id", "a": {"column": "b", "owner": "newest"}}},
            "without updated_at",
        ),
        ({"mode": "overwrite"}, "mode is 'overwrite'"),
        ({"mode": "mirror", "on_leave": "nothing"}, "nothing while mode is mirror"),
        ({"mode": "append", "on_leave": "clear"}, "clear while mode is append"),
        ({"on_leave": "panic"}, "on_leave is 'panic'"),
        ({"exclusive": "yes"}, "exclusive must be true or false"),
        ({"limits": {"deletes": {"rows": 5}}}, "limits.deletes needs rows, and percent"),
        ({"limits": {"deletes": {"rows": 5, "percent": 101}}}, "percent of 0 to 100"),
        ({"limits": {"removals": {"rows": 5, "percent": 1}}}, "unknown entries: removals"),
        ({"limits": {"baseline": -1}}, "baseline is -1"),
        ({"give_up_after": "never"}, "give_up_after is 'never'"),
        ({"privacy": {"contact_points": {"email": "post"}}}, "email or phone by model column"),
        ({"privacy": {"purpose": "fun"}}, "purpose must be one of"),
        ({"colums": {}}, "unknown entries: colums"),
    ],
)
def test_a_wrong_sync_is_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(KlantbeeldError, match=problem):
        list_syncs(manifest("sync_crm__things", {"sync": {**SYNC, **change}}))


def test_an_audience_is_read_from_its_segments_meta() -> None:
    (spec,) = list_audiences(manifest("seg_early_birds", AUDIENCE))
    assert (spec.name, spec.relation) == ("early_birds", "activation.audience_early_birds")
    assert find_audience(manifest("seg_early_birds", AUDIENCE), "seg_early_birds") == spec


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"owner": ""}, "lacks owner"),
        ({"channel": "pigeon"}, "channel must be one of email, phone, postal"),
        ({"purpose": "curiosity"}, "purpose must be one of"),
        ({"columns": []}, "lacks columns"),
    ],
)
def test_a_wrong_audience_is_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(KlantbeeldError, match=problem):
        list_audiences(manifest("seg_early_birds", {**AUDIENCE, **change}))


ROW_BY_ROW: dict[str, Any] = {"entity": "lists/L1", "columns": {"email": "email"}}


def test_an_audience_can_be_a_sync_of_its_members() -> None:
    whole = manifest("seg_early_birds", {**AUDIENCE, "sync": ROW_BY_ROW})
    (spec,) = list_syncs(whole)
    assert list_audiences(whole) == []
    assert (spec.name, spec.relation) == ("audience_early_birds", "activation.audience_early_birds")
    assert (spec.destination, spec.key, spec.on_leave) == ("newsletter", "email", "remove")
    assert spec.privacy == PrivacyRule({"email": "email"}, "commercial")
    assert spec.is_key_personal
    assert find_sync(whole, "early_birds") == spec


@pytest.mark.parametrize(
    ("change", "sync", "problem"),
    [
        ({"channel": "postal"}, {}, "seg_early_birds: an audience for the post goes to"),
        ({}, {"columns": {"email": "email", "city": "city"}}, "names city, not among meta.columns"),
        ({}, {"destination": "crm"}, "destination is said by the audience itself"),
        ({}, {"privacy": {"record": "crm:contact"}}, "privacy is said by the audience itself"),
        ({}, {"columns": ["email"]}, "columns must be a mapping"),
        ({}, {"on_leave": "nothing"}, "on_leave is nothing, and who withdraws has to leave"),
        ({}, {"entity": ""}, "lacks entity"),
    ],
)
def test_a_wrong_sync_of_an_audience_is_named(
    change: dict[str, Any], sync: dict[str, Any], problem: str
) -> None:
    meta = {**AUDIENCE, "sync": {**ROW_BY_ROW, **sync}, **change}
    with pytest.raises(KlantbeeldError, match=problem):
        list_syncs(manifest("seg_early_birds", meta))


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(KlantbeeldError) as caught:
        find_sync(manifest("sync_crm__things", {"sync": SYNC}), "sync_crm__tings")
    assert "sync_crm__things" in str(caught.value)
