"""The HTTP interface as data: the typed route table, and the OpenAPI document made of it."""
