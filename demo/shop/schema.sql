-- The shop's tables, without keys and indexes: those come after the first load (constraints.sql).
create table customers (
    customer_id bigint not null,
    email text not null,
    first_name text,
    last_name text not null,
    phone text,
    birth_date date,
    gender char(1) check (gender in ('M', 'V')),
    newsletter_opt_in boolean not null default false,
    opt_in_at timestamptz,
    loyalty_number text,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create table addresses (
    address_id bigint not null,
    customer_id bigint not null,
    kind text not null check (kind in ('billing', 'shipping')),
    street text not null,
    house_number integer,
    house_number_suffix text,
    postal_code text,
    city text,
    country_code char(2) not null default 'NL',
    is_default boolean not null default false,
    updated_at timestamptz not null
);

create table categories (
    category_id bigint not null,
    name text not null,
    parent_category_id bigint,
    updated_at timestamptz not null
);

create table products (
    product_id bigint not null,
    sku text not null,
    name text not null,
    category_id bigint not null,
    price numeric(12, 2) not null,
    currency char(3) not null default 'EUR',
    is_active boolean not null default true,
    updated_at timestamptz not null
);

create table orders (
    order_id bigint not null,
    customer_id bigint not null,
    ordered_at timestamptz not null,
    status text not null check (status in ('placed', 'paid', 'shipped', 'delivered', 'cancelled')),
    total_amount numeric(12, 2) not null,
    currency char(3) not null default 'EUR',
    shipping_address_id bigint,
    updated_at timestamptz not null
);

create table order_lines (
    order_line_id bigint not null,
    order_id bigint not null,
    product_id bigint not null,
    quantity integer not null check (quantity > 0),
    unit_price numeric(12, 2) not null,
    discount_amount numeric(12, 2) not null default 0,
    updated_at timestamptz not null
);

create table returns (
    return_id bigint not null,
    order_line_id bigint not null,
    returned_at timestamptz not null,
    quantity integer not null check (quantity > 0),
    reason_code char(1) not null check (reason_code in ('D', 'W', 'S', 'O')),
    refund_amount numeric(12, 2) not null,
    updated_at timestamptz not null
);
