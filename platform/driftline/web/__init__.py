"""What people look at: the pages of the dashboard, the admin, the documentation, and how each is protected.

Input: what the selectors of the stages return.
Output: HTML that is rendered on the server, pictures, and the headers that browsers obey.

Start with `pages/urls.py`.
"""
