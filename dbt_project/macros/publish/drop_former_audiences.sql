{#-
    Tables of audiences whose file is gone. dbt leaves them, and a later version would still hold people who are in no
    audience any more. The pre-hook of the model that reads all audiences.
-#}
{% macro drop_former_audiences() %}
    {%- if execute -%}
        {%- set tables = run_query(
            "select table_schema, table_name from information_schema.tables"
            ~ " where table_catalog = '" ~ target.database ~ "' and table_schema in ('segments', 'activation')"
        ) -%}
        {%- set names = audience_names() -%}
        {%- for table in tables.rows -%}
            {%- set prefix = 'seg_' if table[0] == 'segments' else 'audience_' -%}
            {%- if table[1].startswith(prefix) and table[1][prefix | length:] not in names -%}
                drop table if exists {{ api.Relation.create(
                    database=target.database, schema=table[0], identifier=table[1]
                ) }};
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
