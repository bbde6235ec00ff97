"""The HTTP client side: sending attempts and watching where they connect. The only room with the aiohttp client."""
