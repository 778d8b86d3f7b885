"""A merge, a split and their undoing, from the command to the CRM: orders follow their records."""

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


def test_what_a_steward_undoes_moves_history_back(calm: CalmHome) -> None:
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

    # A third one, of whom a web shop customer turns out to be somebody else.
    ((three, going),) = home.published_rows(
        f"""
        select fct_orders.profile_id, min(fct_orders.record_id)
        from marts.fct_orders
        inner join activation.sync_crm__customer_profiles as sent
            on sent.profile_id = fct_orders.profile_id
        where fct_orders.profile_id not in ('{one}', '{two}') and fct_orders.source = 'shop'
        group by fct_orders.profile_id
        having count(distinct fct_orders.record_id) = 1
        order by count(*) desc, fct_orders.profile_id
        limit 1
        """
    )

    actions = []
    for decision in (("merge", one, two), ("split", three, going)):
        assert home.command("identity", *decision, "--why", "met them") == 0, home.said()
        actions.append(home.said().split(":")[0])
    home.run()
    merged = _facts(home)
    place = dict(merged["members"])
    stranger = place[going]
    assert stranger != three
    (kept,) = {profile for _, profile in merged["members"]} & {one, two}
    gone = two if kept == one else one
    assert home.published_rows(
        f"select current_profile_id from identity.current_profile_ids where profile_id = '{gone}'"
    ) == [(kept,)]
    for name in ("orders", "events"):
        assert merged[name] == {
            (row[0], row[1], place[row[1]] if row[1] is not None else None) for row in before[name]
        }
    assert {place[record] for record, profile in before["members"] if profile in {one, two}} == {
        kept
    }
    others = {profile for _, profile in before["members"]} - {one, two, three}
    assert {row for row in before["members"] if row[1] in others} <= merged["members"]
    assert {record for record, profile in merged["members"] if profile == stranger} == {going}
    counts = {row[0]: row[1] for row in before["measures"]}
    orders_of_going = sum(row[1] == going for row in before["orders"])
    assert orders_of_going > 0
    now = {row[0]: row[1] for row in merged["measures"]}
    assert now[stranger] + now[three] == counts[three]
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

    assert home.command("identity", "undo", *actions, "--why", "not so") == 0
    assert gone in home.said()
    home.run()
    assert _facts(home) == before
    assert home.crm_profiles() == in_crm
    assert home.control_rows(
        f"select event from profile_id_events where profile_id = '{gone}' order by event_id"
    ) == [("created",), ("merged",), ("revived",)]
