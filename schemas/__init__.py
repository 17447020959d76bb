"""The contract: what data looks like and what is sent, as types and as JSON Schema."""

SCHEMAS_VERSION = "1.0.0"
"""SemVer of the contract alone; the package's own version moves independently."""
