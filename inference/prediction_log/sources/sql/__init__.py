"""Tables and views of PostgreSQL, MariaDB or MySQL, BigQuery and Snowflake, read on by a watermark, page after page.

Rows come in the order of (watermark, keys), each page behind the last row of the one before, so that rows with the same
watermark are neither lost nor doubled. The position of a table is a count of rows with that place, as text.

Start with `settings.py` and `database.py`, then `adapter.py`.
"""
