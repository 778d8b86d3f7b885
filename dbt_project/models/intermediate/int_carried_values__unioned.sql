with unioned as (
    {{ union_carried_columns() }}
)

select * from unioned
