"""Care for an index: verification, rebuilding and backups."""
