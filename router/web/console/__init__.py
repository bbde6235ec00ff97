"""The pages for people: rendered here, in French and English, with sessions in place of bearer tokens. Speaks aiohttp,
Jinja and Babel; reads and manages through the same confined ports as the API. README.md says how to add a page.
"""
