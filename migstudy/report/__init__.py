"""What is shown: tables, published numbers, the README's tables, and the study as one HTML page."""
