"""MongoDB: driver seam, documents, indexes, stores. The only room that knows motor, pymongo and bson."""
