"""What every wing stands on: errors, units, files, interruption."""
