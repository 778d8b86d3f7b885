"""A merge and its undoing, from the command to the CRM: orders and events follow their records."""

import shutil

import pytest

from tests.fixtures.living_home import CalmHome, LivingHome, Row

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

FACTS = {
    "members": "select record_id, profile_id from marts.bridge_profile_records",
    "orders": "select order_id, record_id, profile_id from marts.fct_orders",
    "events": "select interaction_id, record_id, profile_id from marts.fct_interactions",
    "measures": "select profile_id, order_count, revenue_eur from insights.profile_measures",
}


def _facts(home: LivingHome) -> dict[str, set[Row]]:
    return {name: set(home.published_rows(query)) for name, query in FACTS.items()}


def test_an_undone_merge_moves_history_back(calm: CalmHome) -> None:
    home = LivingHome(calm.home.home.with_name("steward"), calm.home.world, calm.home.persons)
    shutil.copytree(calm.home.home, home.home)
    before, in_crm = _facts(home), home.crm_profiles()
    # Two customers with a contact in the CRM, and orders from elsewhere.
    (one, contact_one), (two, contact_two) = home.published_rows(
        """
        select sent.profile_id, min(sent.contact_id)
        from activation.sync_crm__customer_profiles as sent
        inner join marts.fct_orders on fct_orders.profile_id = sent.profile_id
        group by sent.profile_id, sent.order_count
        having count(distinct fct_orders.record_id) >= 1
        order by sent.order_count desc, sent.profile_id
        limit 2
        """
    )

    assert home.command("identity", "merge", one, two, "--why", "one person") == 0, home.said()
    action = home.said().split(":")[0]
    home.run()
    merged = _facts(home)
    (kept,) = {profile for _, profile in merged["members"]} & {one, two}
    gone = two if kept == one else one
    assert home.published_rows(
        f"select current_profile_id from identity.current_profile_ids where profile_id = '{gone}'"
    ) == [(kept,)]
    for name in ("orders", "events"):
        moved = {(row[0], row[1], kept if row[2] == gone else row[2]) for row in before[name]}
        assert merged[name] == moved
    counts = {row[0]: row[1] for row in before["measures"]}
    assert {row[1] for row in merged["measures"] if row[0] == kept} == {counts[one] + counts[two]}
    # The CRM shows it at both contacts: one profile, with the orders of both.
    shown = home.published_rows(
        "select contact_id, profile_id, order_count from activation.sync_crm__customer_profiles"
        f" where contact_id in ('{contact_one}', '{contact_two}')"
    )
    assert {row[1:] for row in shown} == {(kept, counts[one] + counts[two])}
    changed = {key for key, row in home.crm_profiles().items() if in_crm[key] != row}
    assert {contact_one, contact_two} <= changed
    assert all(kept in home.crm_profiles()[contact] for contact in (contact_one, contact_two))

    assert home.command("identity", "undo", action, "--why", "two people after all") == 0
    assert gone in home.said()
    home.run()
    assert _facts(home) == before
    assert home.crm_profiles() == in_crm
    assert home.control_rows(
        f"select event from profile_id_events where profile_id = '{gone}' order by event_id"
    ) == [("created",), ("merged",), ("revived",)]
