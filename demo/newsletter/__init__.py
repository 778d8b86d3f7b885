"""The newsletter tool: subscribers, lists, opt-ins and what happened to each mailing, over HTTP.

`store` keeps it in one SQLite file, `app` answers requests, `python -m demo.newsletter` serves.

    GET /v1/subscribers | /v1/lists | /v1/opt_ins   ?updated_since=ISO &limit=500 &cursor=…
    GET /v1/events                                  ?occurred_since=ISO &limit=500 &cursor=…
    GET /v1/deletions                               ?updated_since=ISO &limit=500 &cursor=…

Every request carries `Authorization: Bearer <token>`. An answer is
`{"data": […], "next_cursor": …}`, in order of the time that is filtered on (inclusive) and the
key, until `next_cursor` is null.
"""
