"""Bodies of writes: what the CRM takes, and with which status and code it refuses the rest."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.crm.errors import CrmError
from demo.crm.payload import read_payload
from demo.crm.schema import CONTACT, CUSTOMER_PROFILE

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"


def same(text: str) -> str:
    return text


def read(body: object) -> dict[str, object]:
    return dict(read_payload(CUSTOMER_PROFILE, json.dumps(body).encode(), same).values)


def test_values_become_what_the_store_keeps() -> None:
    assert read(
        {
            "cdp_ContactId@odata.bind": f"/contacts({ID.upper()})",
            "cdp_fullname": "",
            "cdp_lifecyclestage": 3,
            "cdp_totalrevenue": 12.345,
            "cdp_averagebasket": 10,
            "cdp_firstorderdate": "2025-01-31",
            "cdp_city": None,
            "modifiedon": "1999-01-01T00:00:00Z",
            "cdp_lifecyclestage@OData.Community.Display.V1.FormattedValue": "Actief",
        }
    ) == {
        "cdp_contactid": ID,
        "cdp_fullname": None,
        "cdp_lifecyclestage": 3,
        "cdp_totalrevenue": 12.35,
        "cdp_averagebasket": 10.0,
        "cdp_firstorderdate": "2025-01-31",
        "cdp_city": None,
    }


@pytest.mark.parametrize(
    "address", [f"contacts({ID})", f"/contacts({ID})", f"http://x/api/data/v9.2/contacts({ID})"]
)
def test_a_lookup_takes_any_address_of_the_row(address: str) -> None:
    assert read({"cdp_ContactId@odata.bind": address}) == {"cdp_contactid": ID}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"shoesize": 43}, 400, "0x80048d19"),
        ({"_cdp_contactid_value": ID}, 400, "0x80048d19"),
        ({"nobody@odata.bind": f"/contacts({ID})"}, 400, "0x80048d19"),
        ({"cdp_ContactId@odata.bind": f"/accounts({ID})"}, 400, "0x80048d19"),
        ({"cdp_ContactId@odata.bind": f"/nothing({ID})"}, 404, "0x8006088a"),
        ({"cdp_ContactId@odata.bind": None}, 400, "0x80048d19"),
        ({"cdp_fullname": 7}, 400, "0x80048d19"),
        ({"cdp_fullname": "x" * 201}, 400, "0x80044331"),
        ({"cdp_fullname": "a\x00b"}, 400, "0x80048d19"),
        ({"cdp_fullname": "\ud800"}, 400, "0x80048d19"),
        ({"cdp_lifecyclestage": 9}, 400, "0x8004431a"),
        ({"cdp_lifecyclestage": "3"}, 400, "0x80048d19"),
        ({"cdp_lifecyclestage": True}, 400, "0x80048d19"),
        ({"cdp_lifecyclestage": 3.0}, 400, "0x80048d19"),
        ({"cdp_usualpurchasehour": 24}, 400, "0x80044330"),
        ({"cdp_totalrevenue": "12"}, 400, "0x80048d19"),
        ({"cdp_totalrevenue": 1e12}, 400, "0x80044330"),
        ({"cdp_firstorderdate": "2025-02-30"}, 400, "0x80048d19"),
        ({"cdp_firstorderdate": "31-01-2025"}, 400, "0x80048d19"),
        ({"cdp_firstorderdate": "0001-01-01"}, 400, "0x80040239"),
        ([], 400, "0x80048d19"),
    ],
)
def test_what_does_not_fit_is_refused(body: object, status: int, code: str) -> None:
    with pytest.raises(CrmError) as refusal:
        read(body)
    assert (refusal.value.status, refusal.value.code) == (status, code)


def test_booleans_are_not_numbers() -> None:
    assert dict(read_payload(CONTACT, b'{"donotemail":true}', same).values) == {"donotemail": 1}
    with pytest.raises(CrmError):
        read_payload(CONTACT, b'{"donotemail":1}', same)


@given(st.binary(max_size=80))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(CrmError):
        read_payload(CONTACT, body, same)


@pytest.mark.parametrize("body", [b'{"cdp_totalrevenue":NaN}', b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(CrmError) as refusal:
        read_payload(CUSTOMER_PROFILE, body, same)
    assert refusal.value.status == 400
