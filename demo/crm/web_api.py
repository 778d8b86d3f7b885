"""The Web API: one operation in, one response out, whether it came alone or inside a batch."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit
from uuid import NAMESPACE_URL, uuid4, uuid5

from demo.crm import metadata, store
from demo.crm.batch import ChangeSet, Operation, Response, format_batch, parse_batch
from demo.crm.errors import (
    CrmError,
    bad_payload,
    bad_query,
    delta_expired,
    key_exists,
    no_such_key,
    no_such_resource,
    no_such_row,
    row_exists,
    version_mismatch,
)
from demo.crm.odata import (
    MAX_PAGE_SIZE,
    DeltaToken,
    Key,
    Preferences,
    Query,
    SkipToken,
    Sql,
    Value,
    after_sql,
    filter_sql,
    order_sql,
    parse_key,
    parse_prefer,
    parse_query,
    parse_row_path,
)
from demo.crm.payload import Payload, read_payload
from demo.crm.privileges import Privileges
from demo.crm.projection import row_json
from demo.crm.schema import BY_LOGICAL_NAME, BY_SET_NAME, Entity

_JSON = "application/json; odata.metadata=minimal"
_SERVICE_ROOT = re.compile(r"^/api/data/v9\.[0-2]/")
_TOTAL_COUNT = re.compile(r"RetrieveTotalRecordCount\(EntityNames=\[([\w',\s]*)\]\)")
_REFERENCE = re.compile(r"^\$([^/]+)")
_USER_PRIVILEGES = re.compile(
    r"systemusers\(([0-9a-f-]{36})\)/Microsoft\.Dynamics\.CRM\.RetrieveUserPrivileges(?:\(\))?"
)


@dataclass(frozen=True)
class ApiRequest:
    """One request below the service's root; header names are in lower case, the path is decoded."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    root: str = ""
    references: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefer(self) -> Preferences:
        """What the client would like."""
        return parse_prefer(self.headers.get("prefer", ""))

    def resolve(self, text: str) -> str:
        """Replace a leading `$1` by the path of the row that operation 1 of the change set made."""
        found = _REFERENCE.match(text)
        if found is None:
            return text
        if found[1] not in self.references:
            raise CrmError(
                400,
                "0x80060888",
                f"Content-ID Reference: '${found[1]}' does not exist in the batch context.",
            )
        return self.references[found[1]] + text[found.end() :]


class WebApi:
    """Carries out requests on one store.

    Args:
        rows: The store.
        delta_lifetime: How long a delta link is good.
        privileges: What the client may do.
        now: Wall-clock time, for the age of delta links.
    """

    def __init__(
        self,
        rows: store.Store,
        delta_lifetime: timedelta,
        privileges: Privileges,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = rows
        self._delta_lifetime = delta_lifetime
        self._privileges = privileges
        self._now = now

    def handle(self, request: ApiRequest) -> Response:
        """Answer one request; a refusal is a response too."""
        try:
            if request.path == "$batch":
                if request.method != "POST":
                    raise _wrong_method(request)
                return self._batch(request)
            if request.method == "GET":
                with self._store.read() as connection:
                    return self._read(connection, request)
            with self._store.write() as connection:
                return self._write(connection, request)
        except CrmError as error:
            return error_response(error)

    # ----------------------------------------------------------------------------------------
    # Reading
    # ----------------------------------------------------------------------------------------

    def _read(self, connection: sqlite3.Connection, request: ApiRequest) -> Response:
        path = request.path
        if path == "":
            return _json_response(200, metadata.service_document(request.root))
        if path == "$metadata":
            return Response(200, {"Content-Type": "application/xml"}, metadata.csdl().encode())
        if path.startswith("EntityDefinitions"):
            content = metadata.definitions(path, request.query, request.root)
            return _json_response(200, content)
        if path in ("WhoAmI", "WhoAmI()"):
            return _json_response(200, _who_am_i(connection, request))
        user = _USER_PRIVILEGES.fullmatch(path)
        if user:
            return _json_response(200, self._user_privileges(connection, user[1], request))
        totals = _TOTAL_COUNT.fullmatch(path)
        if totals:
            return _json_response(200, _total_counts(connection, totals[1], request))
        segment, *rest = path.split("/")
        entity = BY_SET_NAME.get(segment)
        if entity is not None:
            self._privileges.require(entity, "Read")
            if rest == ["$count"]:
                return self._bare_count(connection, entity, request)
            if rest:
                raise no_such_resource(rest[0])
            return self._collection(connection, entity, request)
        entity, key = _addressed_row(request)
        self._privileges.require(entity, "Read")
        return self._row(connection, entity, key, request)

    def _user_privileges(
        self, connection: sqlite3.Connection, user: str, request: ApiRequest
    ) -> object:
        known = _who_am_i(connection, request)
        if user != known["UserId"]:
            raise CrmError(404, "0x80040217", f"systemuser With Id = {user} Does Not Exist")
        name = "Microsoft.Dynamics.CRM.RetrieveUserPrivilegesResponse"
        return {
            "@odata.context": f"{request.root}/$metadata#{name}",
            "RolePrivileges": self._privileges.held(known["BusinessUnitId"]),
        }

    def _row(
        self, connection: sqlite3.Connection, entity: Entity, key: Key, request: ApiRequest
    ) -> Response:
        query = parse_query(entity, request.query)
        row_id = _existing(connection, entity, key)
        version = store.row_version(connection, entity, row_id)
        etag = f'W/"{version}"'
        if request.headers.get("if-none-match") == etag and not query.expand:
            return Response(304, {"ETag": etag})
        return self._representation(connection, query, row_id, 200, request)

    def _representation(
        self,
        connection: sqlite3.Connection,
        query: Query,
        row_id: str,
        status: int,
        request: ApiRequest,
    ) -> Response:
        entity = query.entity
        expression = row_json(query, formatted_values=request.prefer.formatted_values)
        text, version = connection.execute(
            f"select {expression}, c.versionnumber from {entity.set_name} as c"
            f" where c.{entity.primary_id} = ?",
            (row_id,),
        ).fetchone()
        context = f"{request.root}/$metadata#{entity.set_name}{query.context}/$entity"
        body = f'{{"@odata.context":{json.dumps(context)},{text[1:]}'
        headers = {"Content-Type": _JSON, "ETag": f'W/"{version}"', **_applied(request.prefer)}
        return Response(status, headers, body.encode())

    def _collection(
        self, connection: sqlite3.Connection, entity: Entity, request: ApiRequest
    ) -> Response:
        query = parse_query(entity, request.query)
        skip = SkipToken.decode(query.skip_token, query.signature()) if query.skip_token else None
        if query.delta_token is not None or (skip is not None and skip.since is not None):
            return self._changes(connection, query, skip, request)
        tracked = self._tracked(connection, query, skip, request)
        page_size = min(request.prefer.page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
        remaining = skip.remaining if skip else query.top
        size = page_size if remaining is None else min(page_size, remaining)

        conditions = [filter_sql(query.where)] if query.where else []
        if skip:
            conditions.append(after_sql(query, skip.last))
        position = [order.column.name for order in query.order_by] + [entity.primary_id]
        rows = _select(
            connection,
            query,
            [
                row_json(query, formatted_values=request.prefer.formatted_values),
                *(f"c.{name}" for name in position),
            ],
            conditions,
            order_sql(query),
            size + 1,
        )
        link: dict[str, str] = {}
        if len(rows) > size and (remaining is None or remaining > size):
            rows = rows[:size]
            token = SkipToken(
                query.signature(),
                tuple(rows[-1][1:]),
                None if remaining is None else remaining - size,
                tracked,
            )
            link["@odata.nextLink"] = _link(request, query, skiptoken=token.encode())
        elif tracked:
            link["@odata.deltaLink"] = _link(request, query, deltatoken=tracked.encode())
        counted: dict[str, object] = {}
        if query.count:
            total, exceeded = _count(connection, query)
            counted = {
                "@odata.count": total,
                "@Microsoft.Dynamics.CRM.totalrecordcount": total,
                "@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded": exceeded,
            }
        context = f"{request.root}/$metadata#{entity.set_name}{query.context}"
        texts = [row[0] for row in rows[:size]]
        return _collection_response(context, counted, texts, link, request.prefer)

    def _tracked(
        self,
        connection: sqlite3.Connection,
        query: Query,
        skip: SkipToken | None,
        request: ApiRequest,
    ) -> DeltaToken | None:
        """The delta that the last page of this listing will link to, if changes are tracked.

        It is fixed before the first page is read: what changes while somebody pages is in the
        delta, whether or not the listing has it too.
        """
        if skip is not None:
            return skip.delta
        if not request.prefer.track_changes:
            return None
        for option, given in (
            ("filter", query.where),
            ("orderby", query.order_by),
            ("expand", query.expand),
            ("top", query.top is not None),
        ):
            if given:
                raise bad_query(
                    f'The "${option}" query parameter isn\'t supported when Change Tracking'
                    " is enabled."
                )
        return self._delta_now(connection)

    def _delta_now(self, connection: sqlite3.Connection) -> DeltaToken:
        return DeltaToken(store.current_version(connection), store.epoch(connection), self._now())

    def _checked_delta(self, connection: sqlite3.Connection, text: str) -> DeltaToken:
        delta = DeltaToken.decode(text)
        if (
            delta.epoch != store.epoch(connection)
            or delta.version > store.current_version(connection)
            or self._now() - delta.issued > self._delta_lifetime
        ):
            raise delta_expired()
        return delta

    def _changes(
        self,
        connection: sqlite3.Connection,
        query: Query,
        skip: SkipToken | None,
        request: ApiRequest,
    ) -> Response:
        """A page of changes: rows by version, then deletions by version, up to a fixed version."""
        if query.where or query.order_by or query.expand or query.top is not None:
            raise bad_query("A delta link takes no other query options.")
        entity = query.entity
        if skip is None or skip.delta is None or skip.since is None:
            since = self._checked_delta(connection, query.delta_token or "").version
            skip = SkipToken(
                query.signature(), (since,), delta=self._delta_now(connection), since=since
            )
        upto = skip.delta
        if upto is None or skip.since is None or len(skip.last) != 1:
            raise bad_query("The skip token is malformed.")
        size = min(request.prefer.page_size or MAX_PAGE_SIZE, MAX_PAGE_SIZE)

        rows: list[tuple[Value, ...]] = []
        if not skip.deleted:
            rows = _select(
                connection,
                query,
                [
                    row_json(query, formatted_values=request.prefer.formatted_values),
                    "c.versionnumber",
                ],
                [Sql("c.versionnumber > ? and c.versionnumber <= ?", (skip.last[0], upto.version))],
                "c.versionnumber",
                size + 1,
            )
        deleted: list[tuple[Value, ...]] = []
        if len(rows) <= size:
            deleted = connection.execute(
                "select json_object('@odata.context', ?, 'id', id, 'reason', 'deleted'),"
                " versionnumber from deleted_rows where entity = ? and versionnumber > ?"
                " and versionnumber <= ? order by versionnumber limit ?",
                (
                    f"{request.root}/$metadata#{entity.set_name}/$deletedEntity",
                    entity.set_name,
                    skip.last[0] if skip.deleted else skip.since,
                    upto.version,
                    size + 1 - len(rows),
                ),
            ).fetchall()
        page = [*rows, *deleted]
        if len(page) > size:
            if len(rows) > size:
                token = replace(skip, last=(rows[size - 1][1],))
            else:
                last = page[size - 1][1] if len(rows) < size else skip.since
                token = replace(skip, last=(last,), deleted=True)
            link = {"@odata.nextLink": _link(request, query, skiptoken=token.encode())}
        else:
            link = {"@odata.deltaLink": _link(request, query, deltatoken=upto.encode())}
        context = f"{request.root}/$metadata#{entity.set_name}{query.context}/$delta"
        texts = [row[0] for row in page[:size]]
        return _collection_response(context, {}, texts, link, request.prefer)

    def _bare_count(
        self, connection: sqlite3.Connection, entity: Entity, request: ApiRequest
    ) -> Response:
        query = parse_query(entity, request.query)
        if query.delta_token is not None:
            since = self._checked_delta(connection, query.delta_token).version
            total = connection.execute(
                f"select (select count(*) from {entity.set_name} where versionnumber > ?)"
                " + (select count(*) from deleted_rows where entity = ? and versionnumber > ?)",
                (since, entity.set_name, since),
            ).fetchone()[0]
        else:
            total, _ = _count(connection, query)
        return Response(200, {"Content-Type": "text/plain"}, str(total).encode())

    # ----------------------------------------------------------------------------------------
    # Writing
    # ----------------------------------------------------------------------------------------

    def _write(self, connection: sqlite3.Connection, request: ApiRequest) -> Response:
        path = request.path
        entity = BY_SET_NAME.get(path)
        if entity is not None:
            if request.method != "POST":
                raise _wrong_method(request)
            return self._create(connection, entity, request)
        entity, key = _addressed_row(request)
        if request.method == "PATCH":
            return self._upsert(connection, entity, key, request)
        if request.method == "DELETE":
            return self._delete(connection, entity, key, request)
        raise _wrong_method(request)

    def _create(
        self, connection: sqlite3.Connection, entity: Entity, request: ApiRequest
    ) -> Response:
        payload = read_payload(entity, request.body, request.resolve)
        row_id = payload.row_id or str(uuid4())
        if store.row_version(connection, entity, row_id) is not None:
            raise row_exists()
        self._insert(connection, entity, row_id, payload)
        return self._written(connection, entity, entity.columns[0].name, row_id, 201, request)

    def _upsert(
        self, connection: sqlite3.Connection, entity: Entity, key: Key, request: ApiRequest
    ) -> Response:
        payload = read_payload(entity, request.body, request.resolve)
        row_id = _find(connection, entity, key)
        if payload.row_id is not None and payload.row_id != row_id:
            raise bad_payload(
                entity.set_name, f"'{entity.primary_id}' is not the one that is addressed."
            )
        if row_id is None:
            if "if-match" in request.headers:
                raise _not_found(entity, key)
            row_id, payload = _new_row(entity, key, payload)
            self._insert(connection, entity, row_id, payload)
            return self._written(connection, entity, key.column.name, row_id, 201, request)
        if request.headers.get("if-none-match") == "*":
            raise row_exists()
        self._privileges.require(entity, "Write")
        _check_version(connection, entity, row_id, request)
        self._check_references(connection, entity, row_id, payload.values)
        store.update_row(connection, entity, row_id, payload.values, self._store.now())
        return self._written(connection, entity, key.column.name, row_id, 200, request)

    def _insert(
        self, connection: sqlite3.Connection, entity: Entity, row_id: str, payload: Payload
    ) -> None:
        for column in entity.lookups:
            if column.is_required and payload.values.get(column.name) is None:
                raise bad_payload(entity.set_name, f"'{column.name}' is required.")
        self._privileges.require(entity, "Create")
        self._check_references(connection, entity, row_id, payload.values)
        values = {entity.primary_id: row_id, **payload.values}
        store.insert_row(connection, entity, values, self._store.now())

    def _check_references(
        self,
        connection: sqlite3.Connection,
        entity: Entity,
        row_id: str,
        values: Mapping[str, Value],
    ) -> None:
        """Lookups point to rows that are there; no other row has the alternate key."""
        for column in entity.lookups:
            value = values.get(column.name)
            if value is None:
                continue
            target = BY_LOGICAL_NAME[column.target]
            self._privileges.require(entity, "Append")
            self._privileges.require(target, "AppendTo")
            if store.row_version(connection, target, str(value)) is None:
                raise no_such_row(target.logical_name, str(value))
        if entity.alternate_key:
            value = values.get(entity.alternate_key)
            if value is not None:
                holder = store.find_by_key(connection, entity, entity.alternate_key, value)
                if holder not in (None, row_id):
                    raise key_exists(entity.alternate_key)

    def _delete(
        self, connection: sqlite3.Connection, entity: Entity, key: Key, request: ApiRequest
    ) -> Response:
        row_id = _existing(connection, entity, key)
        self._privileges.require(entity, "Delete")
        _check_version(connection, entity, row_id, request)
        store.delete_row(connection, entity, row_id, self._store.now())
        return Response(204)

    def _written(
        self,
        connection: sqlite3.Connection,
        entity: Entity,
        addressed_by: str,
        row_id: str,
        status: int,
        request: ApiRequest,
    ) -> Response:
        """204, or the row when the client prefers that; either with the row's address."""
        address = f"{request.root}/{entity.set_name}({row_id})"
        if addressed_by != entity.primary_id:
            _, key = _addressed_row(request)
            address = f"{request.root}/{entity.set_name}({key.text(entity)})"
        headers = {"OData-EntityId": address, "Location": address}
        if not request.prefer.representation:
            return Response(204, headers)
        query = parse_query(entity, request.query)
        answer = self._representation(connection, query, row_id, status, request)
        return replace(answer, headers={**answer.headers, **headers})

    # ----------------------------------------------------------------------------------------
    # Batches
    # ----------------------------------------------------------------------------------------

    def _batch(self, request: ApiRequest) -> Response:
        items = parse_batch(request.headers.get("content-type", ""), request.body)
        answers: list[Response | Sequence[Response]] = []
        status = 200
        for item in items:
            if isinstance(item, ChangeSet):
                answer = self._change_set(item, request)
            else:
                answer = self._single(item, request)
            answers.append(answer)
            if isinstance(answer, Response) and answer.status >= 400:
                if request.prefer.continue_on_error:
                    continue
                status = answer.status
                break
        content_type, body = format_batch(answers)
        headers = {"Content-Type": content_type, **_applied(request.prefer)}
        return Response(status, headers, body)

    def _single(self, operation: Operation, batch: ApiRequest) -> Response:
        try:
            inner = _inner_request(operation, batch, {})
            if inner.path == "$batch":
                raise bad_query("A batch cannot hold another batch.")
        except CrmError as error:
            return replace(error_response(error), content_id=operation.content_id)
        return replace(self.handle(inner), content_id=operation.content_id)

    def _change_set(
        self, change_set: ChangeSet, batch: ApiRequest
    ) -> Response | Sequence[Response]:
        """All of it or nothing; a failure is answered by the one error that caused it."""
        references: dict[str, str] = {}
        answers: list[Response] = []
        failing: str | None = None
        try:
            with self._store.write() as connection:
                for operation in change_set.operations:
                    failing = operation.content_id
                    inner = _inner_request(operation, batch, references)
                    answer = self._write(connection, inner)
                    answers.append(replace(answer, content_id=operation.content_id))
                    address = answer.headers.get("OData-EntityId")
                    if operation.content_id is not None and address is not None:
                        references[operation.content_id] = address
        except CrmError as error:
            return replace(error_response(error), content_id=failing)
        return answers


def error_response(error: CrmError) -> Response:
    """A refusal as a response."""
    body = json.dumps(error.body()).encode()
    return Response(error.status, {"Content-Type": _JSON, **error.headers}, body)


# --------------------------------------------------------------------------------------------
# Addresses
# --------------------------------------------------------------------------------------------


def _inner_request(
    operation: Operation, batch: ApiRequest, references: Mapping[str, str]
) -> ApiRequest:
    request = ApiRequest(
        operation.method.upper(),
        "",
        headers=operation.headers,
        body=operation.body,
        root=batch.root,
        references=references,
    )
    parts = urlsplit(request.resolve(operation.url))
    path = unquote(_SERVICE_ROOT.sub("", parts.path))
    return replace(request, path=path.strip("/"), query=parts.query)


def _addressed_row(request: ApiRequest) -> tuple[Entity, Key]:
    segment, *rest = request.path.split("/")
    parts = parse_row_path(segment)
    entity = BY_SET_NAME.get(parts[0]) if parts else None
    if parts is None or entity is None:
        raise no_such_resource(segment)
    if rest:
        raise CrmError(501, "0x80060888", "Single properties and links are not supported.")
    return entity, parse_key(entity, parts[1])


def _find(connection: sqlite3.Connection, entity: Entity, key: Key) -> str | None:
    return store.find_by_key(connection, entity, key.column.name, key.value)


def _existing(connection: sqlite3.Connection, entity: Entity, key: Key) -> str:
    row_id = _find(connection, entity, key)
    if row_id is None:
        raise _not_found(entity, key)
    return row_id


def _not_found(entity: Entity, key: Key) -> CrmError:
    if key.column.name == entity.primary_id:
        return no_such_row(entity.logical_name, key.value)
    return no_such_key(entity.logical_name)


def _new_row(entity: Entity, key: Key, payload: Payload) -> tuple[str, Payload]:
    """The row that an upsert makes: with the address's id, or with its alternate key's value."""
    if key.column.name == entity.primary_id:
        return key.value, payload
    given = payload.values.get(key.column.name, key.value)
    if given != key.value:
        raise bad_payload(entity.set_name, f"'{key.column.name}' is not the one that is addressed.")
    values = {**payload.values, key.column.name: key.value}
    return str(uuid4()), Payload(values, None)


def _wrong_method(request: ApiRequest) -> CrmError:
    return CrmError(
        405,
        "0x80060888",
        f"The requested resource does not support http method '{request.method}'.",
    )


# --------------------------------------------------------------------------------------------
# Checks of a write
# --------------------------------------------------------------------------------------------


def _check_version(
    connection: sqlite3.Connection, entity: Entity, row_id: str, request: ApiRequest
) -> None:
    expected = request.headers.get("if-match", "*").strip()
    if expected == "*":
        return
    if expected != f'W/"{store.row_version(connection, entity, row_id)}"':
        raise version_mismatch()


# --------------------------------------------------------------------------------------------
# Queries and answers
# --------------------------------------------------------------------------------------------


def _select(
    connection: sqlite3.Connection,
    query: Query,
    expressions: Sequence[str],
    conditions: Sequence[Sql],
    order: str,
    limit: int,
) -> list[tuple[Value, ...]]:
    where = " and ".join(condition.text for condition in conditions) or "true"
    values = [value for condition in conditions for value in condition.values]
    return connection.execute(
        f"select {', '.join(expressions)} from {query.entity.set_name} as c"
        f" where {where} order by {order} limit ?",
        (*values, limit),
    ).fetchall()


def _count(connection: sqlite3.Connection, query: Query) -> tuple[int, bool]:
    """How many rows the filter meets, up to 5,000 as in Dataverse, and whether there are more."""
    where = filter_sql(query.where) if query.where else Sql("true")
    found = connection.execute(
        f"select count(*) from (select 1 from {query.entity.set_name} as c"
        f" where {where.text} limit ?)",
        (*where.values, MAX_PAGE_SIZE + 1),
    ).fetchone()[0]
    return min(found, MAX_PAGE_SIZE), found > MAX_PAGE_SIZE


def _total_counts(connection: sqlite3.Connection, names: str, request: ApiRequest) -> object:
    found = [name.strip().strip("'") for name in names.split(",") if name.strip()]
    for name in found:
        if name not in BY_LOGICAL_NAME:
            raise no_such_resource(name)
    counts = [
        connection.execute(f"select count(*) from {BY_LOGICAL_NAME[name].set_name}").fetchone()[0]
        for name in found
    ]
    context = f"{request.root}/$metadata#Microsoft.Dynamics.CRM.RetrieveTotalRecordCountResponse"
    return {
        "@odata.context": context,
        "EntityRecordCountCollection": {
            "Count": len(found),
            "IsReadOnly": False,
            "Keys": found,
            "Values": counts,
        },
    }


def _who_am_i(connection: sqlite3.Connection, request: ApiRequest) -> dict[str, str]:
    organisation = uuid5(NAMESPACE_URL, store.epoch(connection))
    return {
        "@odata.context": f"{request.root}/$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse",
        "BusinessUnitId": str(uuid5(organisation, "business unit")),
        "UserId": str(uuid5(organisation, "user")),
        "OrganizationId": str(organisation),
    }


def _link(request: ApiRequest, query: Query, **options: str) -> str:
    return f"{request.root}/{query.entity.set_name}?{query.link(**options)}"


def _applied(prefer: Preferences) -> dict[str, str]:
    return {"Preference-Applied": ", ".join(prefer.applied)} if prefer.applied else {}


def _json_response(status: int, content: object) -> Response:
    return Response(status, {"Content-Type": _JSON}, json.dumps(content).encode())


def _collection_response(
    context: str,
    head: Mapping[str, object],
    rows: Sequence[Value],
    tail: Mapping[str, str],
    prefer: Preferences,
) -> Response:
    """Put rows that are JSON already between the annotations."""
    before = json.dumps({"@odata.context": context, **head})
    after = json.dumps(tail)[1:-1]
    body = f'{before[:-1]},"value":[{",".join(map(str, rows))}]{"," if after else ""}{after}}}'
    return Response(200, {"Content-Type": _JSON, **_applied(prefer)}, body.encode())
