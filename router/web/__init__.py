"""Who talks to us over HTTP: the API, the probes and the metrics. Speaks aiohttp; reads and manages through ports."""
