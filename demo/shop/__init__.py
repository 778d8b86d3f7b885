"""The web shop: a real PostgreSQL on a unix socket, with the tables a shop has.

`server` starts and stops the database server, `store` makes its tables, loads them through COPY and
applies what a day changes. The pipeline reads it as `klantbeeld_reader`, with a password.
"""
