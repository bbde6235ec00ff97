"""The pages, one module for each group of them: what each shows and does. They know ports and no HTTP."""
