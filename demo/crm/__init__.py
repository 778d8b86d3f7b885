"""The demo's CRM: a service that behaves like the Dataverse Web API, kept in one SQLite file.

What belongs here: the tables (`schema`), the store (`store`), the protocol (`odata`, `payload`,
`projection`, `batch`, `metadata`, `web_api`), sign-in and service protection (`access`), and the
pages a person looks at (`pages`). What does not: who the people are and how their world moves on
(the demo world writes through `store`), and anything of the pipeline, which knows this CRM by its
HTTP interface only.

    request -> app (token, service protection) -> web_api (an operation, or a batch) -> store
    browser -> app -> pages -> store
    demo world -> store.load / upsert / delete
"""
