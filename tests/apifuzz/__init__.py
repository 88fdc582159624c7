"""Everything an OpenAPI document allows, and more, asked of a real server by schemathesis."""
