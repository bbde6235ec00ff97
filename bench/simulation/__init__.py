"""The router's own services, N workers of them, in virtual time between a modelled broker, store and customers."""
