"""Every plot. Each function takes arrays and returns a figure; nothing global is touched."""
