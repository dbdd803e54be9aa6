"""How times are written where no template says it, which is in the admin: Django looks in the folder of the language.

Start with `en_GB/formats.py`.
"""
