"""Plain values of a configuration or a result: numbers within their ranges, and JSON that every reader takes."""
