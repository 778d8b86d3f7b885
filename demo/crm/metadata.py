"""What the CRM says about itself: `$metadata`, the service document and `EntityDefinitions`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import quoteattr

from demo.crm import privileges
from demo.crm.errors import bad_query, no_such_resource
from demo.crm.schema import (
    BY_LOGICAL_NAME,
    ENTITIES,
    VERSION_NUMBER,
    Column,
    Entity,
    Kind,
)

# Columns are named in English, options in Dutch.
_ENGLISH = 1033
_DUTCH = 1043
_NAMESPACE = "Microsoft.Dynamics.CRM"
_CAST_KINDS = {
    f"{_NAMESPACE}.PicklistAttributeMetadata": Kind.OPTION,
    f"{_NAMESPACE}.StateAttributeMetadata": Kind.STATE,
    f"{_NAMESPACE}.StatusAttributeMetadata": Kind.STATUS,
}
_DEFINITION = re.compile(r"EntityDefinitions\(LogicalName='(\w+)'\)")
_ATTRIBUTE = re.compile(r"Attributes(?:\(LogicalName='(\w+)'\))?")

Json = Mapping[str, object]


def csdl() -> str:
    """The `$metadata` document."""
    types = "".join(_entity_type(entity) for entity in ENTITIES)
    sets = "".join(_entity_set(entity) for entity in ENTITIES)
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        "<edmx:DataServices>"
        f'<Schema Namespace="{_NAMESPACE}" Alias="mscrm"'
        ' xmlns="http://docs.oasis-open.org/odata/ns/edm">'
        f'{types}<EntityContainer Name="System">{sets}</EntityContainer>'
        "</Schema></edmx:DataServices></edmx:Edmx>"
    )


def _entity_type(entity: Entity) -> str:
    properties = "".join(
        f"<Property Name={quoteattr(column.property_name)}"
        f" Type={quoteattr(column.kind.edm_type)}{_facets(column)} />"
        for column in entity.by_property.values()
    )
    navigation = "".join(
        f"<NavigationProperty Name={quoteattr(column.navigation)}"
        f' Type="mscrm.{column.target}" Nullable="{str(not column.is_required).lower()}">'
        f'<ReferentialConstraint Property="{column.property_name}"'
        f' ReferencedProperty="{BY_LOGICAL_NAME[column.target].primary_id}" />'
        "</NavigationProperty>"
        for column in entity.lookups
    )
    alternate = ""
    if entity.alternate_key:
        name = entity.by_name[entity.alternate_key].property_name
        alternate = (
            '<Annotation Term="OData.Community.Keys.V1.AlternateKeys"><Collection><Record'
            ' Type="OData.Community.Keys.V1.AlternateKey"><PropertyValue Property="Key">'
            '<Collection><Record Type="OData.Community.Keys.V1.PropertyRef">'
            f'<PropertyValue Property="Alias" String="{name}" />'
            f'<PropertyValue Property="Name" PropertyPath="{name}" />'
            "</Record></Collection></PropertyValue></Record></Collection></Annotation>"
        )
    return (
        f'<EntityType Name="{entity.logical_name}">'
        f'<Key><PropertyRef Name="{entity.primary_id}" /></Key>'
        f"{properties}{navigation}{alternate}</EntityType>"
    )


def _facets(column: Column) -> str:
    if column.kind is Kind.TEXT:
        return f' MaxLength="{column.max_length}" Unicode="true"'
    if column.kind is Kind.DECIMAL:
        return f' Scale="{column.precision}"'
    return ""


def _entity_set(entity: Entity) -> str:
    bindings = "".join(
        f'<NavigationPropertyBinding Path="{column.navigation}"'
        f' Target="{BY_LOGICAL_NAME[column.target].set_name}" />'
        for column in entity.lookups
    )
    return (
        f'<EntitySet Name="{entity.set_name}" EntityType="mscrm.{entity.logical_name}">{bindings}'
        '<Annotation Term="Org.OData.Capabilities.V1.ChangeTracking"><Record>'
        '<PropertyValue Property="Supported" Bool="true" /></Record></Annotation></EntitySet>'
    )


def service_document(root: str) -> Json:
    """The list of entity sets."""
    sets = [{"name": e.set_name, "kind": "EntitySet", "url": e.set_name} for e in ENTITIES]
    return {"@odata.context": f"{root}/$metadata", "value": sets}


def definitions(path: str, query: str, root: str) -> Json:
    """Answer a GET below `EntityDefinitions`.

    Raises:
        CrmError: 404 for what is not there, 400 for a `$select` of what is not there.
    """
    select = _select(query)
    context = f"{root}/$metadata#{path}"
    first, *rest = path.split("/")
    if first == "EntityDefinitions" and not rest:
        return {"@odata.context": context, "value": _chosen(map(_table, ENTITIES), select)}
    if path == "EntityDefinitions/optionsets":
        return {"@odata.context": context, "value": option_labels()}
    found = _DEFINITION.fullmatch(first)
    entity = BY_LOGICAL_NAME.get(found[1]) if found else None
    if entity is None:
        raise no_such_resource(first)
    if not rest:
        return {"@odata.context": context, **_chosen([_table(entity)], select)[0]}
    if rest == ["Keys"]:
        keys = [_key(entity)] if entity.alternate_key else []
        return {"@odata.context": context, "value": _chosen(keys, select)}
    attributes = _ATTRIBUTE.fullmatch(rest[0])
    if attributes is None or len(rest) > 2:
        raise no_such_resource(rest[0])
    columns: Iterable[Column] = (*entity.columns, VERSION_NUMBER)
    if attributes[1] is not None:
        columns = [column for column in columns if column.name == attributes[1]]
        if not columns:
            raise no_such_resource(rest[0])
    if rest[1:]:
        kind = _CAST_KINDS.get(rest[1])
        if kind is None:
            raise no_such_resource(rest[1])
        rows = [_option_attribute(entity, column) for column in columns if column.kind is kind]
        select = [*select, "OptionSet"] if select else []
    else:
        rows = [_attribute(entity, column) for column in columns]
    if attributes[1] is not None:
        if not rows:
            raise no_such_resource(rest[-1])
        return {"@odata.context": context, **_chosen(rows, select)[0]}
    return {"@odata.context": context, "value": _chosen(rows, select)}


def option_labels() -> list[Json]:
    """Every label of every option set, one row each; Dataverse itself has no such list."""
    return [
        {
            "entity": entity.logical_name,
            "entityset": entity.set_name,
            "attribute": column.name,
            "value": option.value,
            "label": option.label,
        }
        for entity in ENTITIES
        for column in entity.columns
        for option in column.options
    ]


def _select(query: str) -> list[str]:
    text = parse_qs(query).get("$select", [""])[0]
    return [name.strip() for name in text.split(",") if name.strip()]


def _chosen(rows: Iterable[Json], select: list[str]) -> list[Json]:
    chosen: list[Json] = []
    for row in rows:
        unknown = [name for name in select if name not in row]
        if unknown:
            raise bad_query(f"Could not find a property named '{unknown[0]}'.")
        names = dict.fromkeys([*select, "MetadataId"]) if select else row
        chosen.append({name: row[name] for name in names})
    return chosen


def _table(entity: Entity) -> Json:
    return {
        "LogicalName": entity.logical_name,
        "SchemaName": entity.logical_name,
        "EntitySetName": entity.set_name,
        "PrimaryIdAttribute": entity.primary_id,
        "PrimaryNameAttribute": entity.primary_name,
        "ChangeTrackingEnabled": True,
        "IsOptimisticConcurrencyEnabled": True,
        "IsCustomEntity": entity.logical_name.startswith("cdp_"),
        "DisplayName": _label(entity.label),
        "DisplayCollectionName": _label(entity.labels),
        "Privileges": privileges.of_table(entity),
        "MetadataId": _metadata_id(entity.logical_name),
    }


def _key(entity: Entity) -> Json:
    return {
        "LogicalName": f"{entity.alternate_key}_key",
        "EntityLogicalName": entity.logical_name,
        "KeyAttributes": [entity.alternate_key],
        "EntityKeyIndexStatus": "Active",
        "MetadataId": _metadata_id(entity.logical_name, "key"),
    }


def _attribute(entity: Entity, column: Column) -> dict[str, object]:
    is_id = column.name == entity.primary_id
    row: dict[str, object] = {
        "LogicalName": column.name,
        "SchemaName": column.navigation or column.name,
        "EntityLogicalName": entity.logical_name,
        "AttributeType": column.kind.attribute_type,
        "DisplayName": _label(column.label),
        "IsPrimaryId": is_id,
        "IsPrimaryName": column.name == entity.primary_name,
        "IsValidForRead": True,
        "IsValidForCreate": not column.is_read_only,
        "IsValidForUpdate": not (column.is_read_only or is_id),
        "RequiredLevel": {"Value": "SystemRequired" if column.is_required else "None"},
        "MaxLength": column.max_length if column.kind is Kind.TEXT else None,
        "MinValue": None,
        "MaxValue": None,
        "Precision": column.precision if column.kind is Kind.DECIMAL else None,
        "Format": "DateOnly" if column.kind is Kind.DATE else None,
        "Targets": [column.target] if column.target else [],
        "MetadataId": _metadata_id(entity.logical_name, column.name),
    }
    if column.kind in (Kind.INTEGER, Kind.DECIMAL):
        row["MinValue"], row["MaxValue"] = column.minimum, column.maximum
    return row


def _option_attribute(entity: Entity, column: Column) -> Json:
    return {
        **_attribute(entity, column),
        "OptionSet": {
            "MetadataId": _metadata_id(entity.logical_name, column.name, "options"),
            "IsGlobal": False,
            "IsCustomOptionSet": column.name.startswith("cdp_"),
            "Name": f"{entity.logical_name}_{column.name}",
            "OptionSetType": column.kind.attribute_type,
            "DisplayName": _label(column.label),
            "Options": [
                {"Value": option.value, "Label": _label(option.label, _DUTCH)}
                for option in column.options
            ],
        },
    }


def _label(text: str, language: int = _ENGLISH) -> Json:
    label = {"Label": text, "LanguageCode": language, "IsManaged": False}
    return {"LocalizedLabels": [label], "UserLocalizedLabel": label}


def _metadata_id(*names: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(names)))
