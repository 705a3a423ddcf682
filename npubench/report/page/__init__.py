"""Results as one self-contained HTML page: tables, interactive charts, assumptions and sources."""
