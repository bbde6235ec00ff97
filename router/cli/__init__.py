"""The command line: arguments become a call of bootstrap or of a use-case, results become text or JSON.

`app` holds the commands together; modules named after a group hold its commands. Everything heavy is imported
inside the commands, so that `--help` and completion answer at once.
"""
