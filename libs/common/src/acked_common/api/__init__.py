"""Define the HTTP interface as data: a typed route table, and the OpenAPI document generated from it."""
