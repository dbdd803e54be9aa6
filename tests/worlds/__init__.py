"""Small worlds for tests: one module makes one project with its models, rows and labels."""
