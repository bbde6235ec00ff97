"""The composition root: the only place that names concrete classes. Commands import the part that they need."""
