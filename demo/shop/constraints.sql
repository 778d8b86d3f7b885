alter table customers add primary key (customer_id);
alter table addresses add primary key (address_id);
alter table categories add primary key (category_id);
alter table products add primary key (product_id), add unique (sku);
alter table orders add primary key (order_id);
alter table order_lines add primary key (order_line_id);
alter table returns add primary key (return_id);

alter table addresses add foreign key (customer_id) references customers on delete cascade;
alter table categories add foreign key (parent_category_id) references categories;
alter table products add foreign key (category_id) references categories;
alter table orders
    add foreign key (customer_id) references customers,
    add foreign key (shipping_address_id) references addresses;
alter table order_lines
    add foreign key (order_id) references orders,
    add foreign key (product_id) references products;
alter table returns add foreign key (order_line_id) references order_lines;

create index on customers (updated_at);
create index on addresses (updated_at);
create index on addresses (customer_id);
create index on categories (updated_at);
create index on products (updated_at);
create index on orders (updated_at);
create index on orders (customer_id);
create index on orders (status) where status in ('placed', 'paid', 'shipped');
create index on order_lines (updated_at);
create index on order_lines (order_id);
create index on returns (updated_at);
create index on returns (order_line_id);

analyze;
