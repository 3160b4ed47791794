"""`counters export` and `counters import`: whole counters out of a database and into one.

In reading order: `lines` (a counter as a line of JSON; pure), `loading` (what is made, what is left alone and what is
said about it), `application` (counts and
members from the database of an application), `progress`, `commands`.
"""
