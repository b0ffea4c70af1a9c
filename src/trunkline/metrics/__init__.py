"""What /metrics shows: the table of metrics, how they are read off the parts, and how they are written."""
