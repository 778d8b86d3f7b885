-- Receipt lines that reached neither the order lines nor the returns, or both.
-- Happens when the tills write a kind of line that the models do not know.
-- A row is the difference in lines between the tills and the standard model.
with line_counts as (
    select
        (select count(*) from {{ ref('stg_pos__receipt_lines') }}) as receipt_line_count,
        (select count(*) from {{ ref('int_pos__order_lines') }}) as sold_count,
        (select count(*) from {{ ref('int_pos__returns') }}) as returned_count
)

select *
from line_counts
where receipt_line_count != sold_count + returned_count
