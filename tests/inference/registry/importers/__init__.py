"""Folders of other servers, made by the tests and read as users have them."""
