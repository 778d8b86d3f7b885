"""The raw tables of the web shop: the same names as in its PostgreSQL schema."""

from ingestion.contracts import Column, Kind, Table

_UPDATED_AT = Column("updated_at", Kind.MOMENT, is_required=True)


def _table(name: str, key: str, *columns: Column) -> Table:
    return Table(
        source="shop",
        name=name,
        columns=(Column(key, Kind.INTEGER), *columns, _UPDATED_AT),
        key=(key,),
        cursor="updated_at",
        is_incremental=True,
    )


TABLES = (
    _table(
        "customers",
        "customer_id",
        Column("email"),
        Column("first_name"),
        Column("last_name"),
        Column("phone"),
        Column("birth_date", Kind.DATE),
        Column("gender"),
        Column("newsletter_opt_in", Kind.BOOLEAN),
        Column("opt_in_at", Kind.MOMENT),
        Column("loyalty_number"),
        Column("created_at", Kind.MOMENT),
    ),
    _table(
        "addresses",
        "address_id",
        Column("customer_id", Kind.INTEGER),
        Column("kind"),
        Column("street"),
        Column("house_number"),
        Column("house_number_suffix"),
        Column("postal_code"),
        Column("city"),
        Column("country_code"),
        Column("is_default", Kind.BOOLEAN),
    ),
    _table(
        "categories",
        "category_id",
        Column("name"),
        Column("parent_category_id", Kind.INTEGER),
    ),
    _table(
        "products",
        "product_id",
        Column("sku"),
        Column("name"),
        Column("category_id", Kind.INTEGER),
        Column("price", Kind.DECIMAL),
        Column("currency"),
        Column("is_active", Kind.BOOLEAN),
    ),
    _table(
        "orders",
        "order_id",
        Column("customer_id", Kind.INTEGER),
        Column("ordered_at", Kind.MOMENT),
        Column("status"),
        Column("total_amount", Kind.DECIMAL),
        Column("currency"),
        Column("shipping_address_id", Kind.INTEGER),
    ),
    _table(
        "order_lines",
        "order_line_id",
        Column("order_id", Kind.INTEGER),
        Column("product_id", Kind.INTEGER),
        Column("quantity", Kind.INTEGER),
        Column("unit_price", Kind.DECIMAL),
        Column("discount_amount", Kind.DECIMAL),
    ),
    _table(
        "returns",
        "return_id",
        Column("order_line_id", Kind.INTEGER),
        Column("returned_at", Kind.MOMENT),
        Column("quantity", Kind.INTEGER),
        Column("reason_code"),
        Column("refund_amount", Kind.DECIMAL),
    ),
)
