"""The HTTP interface (see docs/api.md): thin views that parse, validate, call once and answer."""
