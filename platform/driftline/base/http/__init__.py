"""What reading a request and answering it takes, whatever the route: bodies, values, pages of lists, files.

Input: Django's requests.
Output: parsed values or the error that says what to send instead, who sent a request, and responses.

Start with `request_values.py` and `responses.py`.
"""
